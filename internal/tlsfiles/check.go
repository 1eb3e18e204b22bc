// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrNotAPair is the error of a certificate and a key that do not belong together.
var ErrNotAPair = errors.New("the key is of another certificate")

// Problem is what is wrong with the content of a file.
type Problem struct {
	// Key is true if the file is the key's, and false if it is a certificate's.
	Key bool
	// Sentence says what is wrong and what to do, without its subject, which is
	// the file.
	Sentence string
	// Err is the cause, if there is one.
	Err error
}

// Error implements error.
func (p *Problem) Error() string {
	if p.Key {
		return "the key " + p.Sentence
	}
	return "the certificate " + p.Sentence
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// CheckCA refuses a bundle of CAs without a certificate that is valid at now. Its error
// is a *Problem.
func CheckCA(bundle []byte, now time.Time) error {
	certificates, err := parseAll(bundle)
	if err != nil {
		return err
	}
	// A bundle may carry an old CA during a rotation, but not only old ones.
	var invalid error
	for _, c := range certificates {
		if invalid = checkValidity(c, now); invalid == nil {
			return nil
		}
	}
	return invalid
}

// CheckCertificate refuses a file without a certificate, or with a broken one. Its
// error is a *Problem.
func CheckCertificate(certificate []byte) error {
	_, err := parseAll(certificate)
	return err
}

// CheckPair refuses a client's certificate and key that no server could accept at
// now. Its error is a *Problem or wraps ErrNotAPair.
func CheckPair(certificate, key []byte, now time.Time) error {
	certificates, err := parseAll(certificate)
	if err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		return fmt.Errorf("%w: %w", ErrNotAPair, err)
	}
	leaf := certificates[0]
	if err := checkValidity(leaf, now); err != nil {
		return err
	}
	if len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return &Problem{Sentence: "is not for clients, and every server would refuse it: have one issued with extended key usage clientAuth"}
	}
	return nil
}

// parseAll returns the certificates in data, at least one. Unlike parseRoots, it
// refuses a broken one: at start, a person can mend it.
func parseAll(data []byte) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	var others []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			others = append(others, kind(block))
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Problem{Sentence: fmt.Sprintf("has a broken certificate, the %s: write the file again", ordinal(len(certificates)+1)), Err: err}
		}
		certificates = append(certificates, c)
	}
	switch {
	case len(certificates) > 0:
		return certificates, nil
	case len(others) > 0:
		return nil, &Problem{Sentence: fmt.Sprintf("has no certificate in it but %s: are the files swapped?", strings.Join(others, ", "))}
	default:
		return nil, &Problem{Sentence: "has no PEM certificate in it: give a file with -----BEGIN CERTIFICATE-----"}
	}
}

// kind is a PEM block's type as it may stand in a sentence.
func kind(b *pem.Block) string { return strings.Trim(fmt.Sprintf("%.40q", b.Type), `"`) }

// ordinal is good for the few certificates of a bundle.
func ordinal(n int) string {
	switch n {
	case 1:
		return "first"
	case 2:
		return "second"
	default:
		return fmt.Sprintf("number %d", n)
	}
}

// checkKey refuses data without a key that can be used as it is. Nothing of data gets
// into a sentence.
func checkKey(data []byte) error {
	var others []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			others = append(others, kind(block))
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return &Problem{Key: true, Sentence: "is encrypted, and nobody is there to type the password: give the key unencrypted"}
		}
		if !isKey(block.Bytes) {
			return &Problem{Key: true, Sentence: "has a broken private key: write the file again"}
		}
		return nil
	}
	if len(others) > 0 {
		return &Problem{Key: true, Sentence: fmt.Sprintf("has no private key in it but %s: are the files swapped?", strings.Join(slices.Compact(others), ", "))}
	}
	return &Problem{Key: true, Sentence: "has no PEM private key in it: give a file with -----BEGIN PRIVATE KEY-----"}
}

// isKey tries the three encodings that crypto/tls takes.
func isKey(der []byte) bool {
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(der)
	_, sec1 := x509.ParseECPrivateKey(der)
	return pkcs8 == nil || pkcs1 == nil || sec1 == nil
}

func checkValidity(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return &Problem{Sentence: fmt.Sprintf("expired on %s: renew it", c.NotAfter.UTC().Format(time.RFC3339))}
	case now.Before(c.NotBefore):
		return &Problem{Sentence: fmt.Sprintf("is not valid before %s: wait, or set the clock right", c.NotBefore.UTC().Format(time.RFC3339))}
	}
	return nil
}
