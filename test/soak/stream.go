// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// direction distinguishes the two streams of a connection.
type direction byte

const (
	toTarget direction = 'u'
	toApp    direction = 'd'
)

// stream returns an endless stream of bytes that repeats nowhere. Only one direction of
// one connection has it.
func stream(id uint64, d direction) io.Reader {
	seed := binary.BigEndian.AppendUint64([]byte{byte(d)}, id)
	key := sha256.Sum256(seed)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has the right length
	}
	return &cipher.StreamReader{S: cipher.NewCTR(block, make([]byte, aes.BlockSize)), R: zeros{}}
}

type zeros struct{}

// Read returns zeros without end.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// checker compares what is written to it with a stream.
type checker struct {
	n      int64 // number of right bytes so far
	want   io.Reader
	buffer []byte
}

func newChecker(id uint64, d direction) *checker { return &checker{want: stream(id, d)} }

// Write fails at the first byte that is not in the stream.
func (c *checker) Write(p []byte) (int, error) {
	if len(c.buffer) < len(p) {
		c.buffer = make([]byte, len(p))
	}
	_, _ = io.ReadFull(c.want, c.buffer[:len(p)]) // the stream is endless
	for i, b := range p {
		if b != c.buffer[i] {
			c.n += int64(i)
			return i, &wrongByteError{at: c.n, got: b, want: c.buffer[i]}
		}
	}
	c.n += int64(len(p))
	return len(p), nil
}

// wrongByteError is a byte that the sender did not send there. It is never excused.
type wrongByteError struct {
	at        int64
	got, want byte
}

// Error implements error.
func (e *wrongByteError) Error() string {
	return fmt.Sprintf("byte %d of the stream is %#02x, want %#02x", e.at, e.got, e.want)
}

// newTextChecker expects a text, and no byte after it.
func newTextChecker(text string) *checker {
	return &checker{want: io.MultiReader(strings.NewReader(text), zeros{})}
}
