// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"bytes"
	"encoding/pem"
	"strings"
	"testing"
)

// oneLine checks that a refusal is a part of one sentence.
func oneLine(t *testing.T, input any, err error) {
	t.Helper()
	if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
		t.Fatalf("the refusal of %q has two lines: %q", input, err)
	}
}

// FuzzPEM: a file of certificates or of a key is read, or refused in one line that has
// no byte of a key.
func FuzzPEM(f *testing.F) {
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	f.Add([]byte{})
	f.Add(block("CERTIFICATE", []byte("0\x82")))
	f.Add(block("PRIVATE KEY", []byte("0\x82")))
	f.Add(block("ENCRYPTED PRIVATE KEY", nil))
	f.Add(append(block("CERTIFICATE", nil), block("EC PRIVATE KEY", nil)...))
	f.Add([]byte("-----BEGIN A\rB-----\n-----END A\rB-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		certificates, err := parseAll(data)
		oneLine(t, data, err)
		if err == nil && len(certificates) == 0 {
			t.Fatalf("%q was taken for certificates, and has none", data)
		}
		err = checkKey(data)
		oneLine(t, data, err)
		for key, rest := pem.Decode(data); key != nil; key, rest = pem.Decode(rest) {
			if err != nil && len(key.Bytes) > 7 && bytes.Contains([]byte(err.Error()), key.Bytes) {
				t.Fatalf("the refusal has the key in it: %q", err)
			}
		}
	})
}
