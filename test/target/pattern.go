// SPDX-License-Identifier: Apache-2.0

package target

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Pattern returns an endless stream of bytes that repeats nowhere, the same each time. A
// byte that is lost, doubled or out of order changes its hash.
func Pattern() io.Reader {
	block, err := aes.NewCipher([]byte("sixteen byte key"))
	if err != nil {
		panic(err) // the key has the right length
	}
	return &cipher.StreamReader{S: cipher.NewCTR(block, make([]byte, aes.BlockSize)), R: zeros{}}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// PatternHash returns the SHA-256 of the pattern's first n bytes, in hexadecimal.
func PatternHash(n int64) string {
	hash := sha256.New()
	_, _ = io.CopyN(hash, Pattern(), n) // neither side can fail
	return hex.EncodeToString(hash.Sum(nil))
}

// PatternWriter compares what is written to it with the pattern.
type PatternWriter struct {
	// N is the number of right bytes so far.
	N int64

	want   io.Reader
	buffer []byte
}

// NewPatternWriter returns a writer that expects the pattern from its first byte.
func NewPatternWriter() *PatternWriter { return &PatternWriter{want: Pattern()} }

// Write fails at the first byte that is not in the pattern.
func (w *PatternWriter) Write(p []byte) (int, error) {
	if len(w.buffer) < len(p) {
		w.buffer = make([]byte, len(p))
	}
	_, _ = io.ReadFull(w.want, w.buffer[:len(p)]) // the pattern is endless
	for i, b := range p {
		if b != w.buffer[i] {
			return i, fmt.Errorf("byte %d of the stream is %#02x, want %#02x", w.N+int64(i), b, w.buffer[i])
		}
	}
	w.N += int64(len(p))
	return len(p), nil
}
