// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"iter"
	"strings"
)

const typeCertificate = "CERTIFICATE"

// blocks iterates over the PEM blocks in data.
func blocks(data []byte) iter.Seq[*pem.Block] {
	return func(yield func(*pem.Block) bool) {
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if !yield(block) {
				return
			}
		}
	}
}

// isWhole reports whether each block that begins in data also ends, and can be decoded.
// pem.Decode leaves out the others.
func isWhole(data []byte) bool {
	const begin = "-----BEGIN "
	begun := bytes.Count(data, []byte("\n"+begin))
	if bytes.HasPrefix(data, []byte(begin)) {
		begun++
	}
	for range blocks(data) {
		begun--
	}
	return begun <= 0
}

// certificates iterates over the certificates in data. A broken one is an error, behind
// which the iteration goes on.
func certificates(data []byte) iter.Seq2[*x509.Certificate, error] {
	return func(yield func(*x509.Certificate, error) bool) {
		for block := range blocks(data) {
			if block.Type == typeCertificate && !yield(x509.ParseCertificate(block.Bytes)) {
				return
			}
		}
	}
}

// kinds returns the types of the blocks in data, as they may stand in a sentence.
func kinds(data []byte) []string {
	var kinds []string
	for block := range blocks(data) {
		kinds = append(kinds, strings.Trim(fmt.Sprintf("%.40q", block.Type), `"`))
	}
	return kinds
}
