// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrNotAPair is wrapped by the error of a certificate and a key that do not belong
// together.
var ErrNotAPair = errors.New("the key is of another certificate")

// Problem is what is wrong with the content of a file.
type Problem struct {
	// Key is true if the file is the key's, and false if it is a certificate's.
	Key bool
	// Content is true if the file as a whole is wrong, and not a certificate or key in it.
	Content bool
	// Sentence says what is wrong and what to do. Its subject, the file, is left out.
	Sentence string
	// Err is the cause, or nil.
	Err error
}

// Error implements error.
func (p *Problem) Error() string {
	switch {
	case p.Content:
		return "the file " + p.Sentence
	case p.Key:
		return "the key " + p.Sentence
	default:
		return "the certificate " + p.Sentence
	}
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
	// During a rotation a bundle may carry an old CA, but not only old ones.
	var invalid error
	for _, c := range certificates {
		if invalid = checkValidity(c, now); invalid == nil {
			return nil
		}
	}
	return invalid
}

// CheckCertificate refuses a file that has no certificate, or a broken one. Its error is
// a *Problem.
func CheckCertificate(certificate []byte) error {
	_, err := parseAll(certificate)
	return err
}

// CheckPair refuses a client's certificate and key that no server could accept at
// now. Its error is a *Problem or wraps ErrNotAPair.
func CheckPair(certificate, key []byte, now time.Time) error {
	leaf, err := checkPair(certificate, key, now)
	if err == nil && !isFor(leaf, x509.ExtKeyUsageClientAuth) {
		return &Problem{Sentence: "is not for clients, and every server would refuse it: have one issued with extended key usage clientAuth"}
	}
	return err
}

// errNotForServers is the error of a client's certificate that is given for a server's.
var errNotForServers = &Problem{Sentence: "is not for servers, and every client would refuse it: have one issued with extended key usage serverAuth"}

// CheckServerPair is CheckPair for a server's certificate and key.
func CheckServerPair(certificate, key []byte, now time.Time) error {
	leaf, err := checkPair(certificate, key, now)
	if err == nil && !isFor(leaf, x509.ExtKeyUsageServerAuth) {
		return errNotForServers
	}
	return err
}

// checkPair refuses a certificate and a key that do not belong together, or are not valid
// at now.
func checkPair(certificate, key []byte, now time.Time) (leaf *x509.Certificate, err error) {
	certificates, err := parseAll(certificate)
	if err != nil {
		return nil, err
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotAPair, err)
	}
	return certificates[0], checkValidity(certificates[0], now)
}

// isFor reports whether a certificate may be used for something.
func isFor(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(c.ExtKeyUsage) == 0 || slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// errCutOff is the error of a file of which a part is missing.
var errCutOff = &Problem{Content: true, Sentence: "has a block that is cut off or damaged: write the file again"}

// parseAll returns the certificates in data, at least one. It refuses a broken one,
// which parseRoots does not: at start, a person can repair the file.
func parseAll(data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for c, err := range certificates(data) {
		if err != nil {
			return nil, &Problem{Content: true, Sentence: fmt.Sprintf("has a broken certificate, the %s: write the file again", ordinal(len(all)+1)), Err: err}
		}
		all = append(all, c)
	}
	if !isWhole(data) {
		return nil, errCutOff
	}
	if len(all) > 0 {
		return all, nil
	}
	if others := kinds(data); len(others) > 0 {
		return nil, &Problem{Content: true, Sentence: fmt.Sprintf("has no certificate in it but %s: are the files swapped?", strings.Join(others, ", "))}
	}
	return nil, &Problem{Content: true, Sentence: "has no PEM certificate in it: give a file with -----BEGIN CERTIFICATE-----"}
}

// ordinal returns a word for n. It is good for the few certificates of a bundle.
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

// errBrokenKey is the error of a file whose key cannot be decoded.
var errBrokenKey = &Problem{Key: true, Content: true, Sentence: "has a broken private key: write the file again"}

// checkKey refuses data without a key that can be used as it is. No byte of data gets
// into the error.
func checkKey(data []byte) error {
	for block := range blocks(data) {
		switch {
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
			continue
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return &Problem{Key: true, Sentence: "is encrypted, and nobody is there to type the password: give the key unencrypted"}
		case !isKey(block.Bytes):
			return errBrokenKey
		}
		return nil
	}
	if !isWhole(data) {
		return errBrokenKey
	}
	if others := kinds(data); len(others) > 0 {
		return &Problem{Key: true, Content: true, Sentence: fmt.Sprintf("has no private key in it but %s: are the files swapped?", strings.Join(slices.Compact(others), ", "))}
	}
	return &Problem{Key: true, Content: true, Sentence: "has no PEM private key in it: give a file with -----BEGIN PRIVATE KEY-----"}
}

// isKey reports whether der is a key in one of the three encodings that crypto/tls
// takes.
func isKey(der []byte) bool {
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(der)
	_, sec1 := x509.ParseECPrivateKey(der)
	return pkcs8 == nil || pkcs1 == nil || sec1 == nil
}

// checkValidity refuses a certificate that is not valid at now. Its error is a *Problem.
func checkValidity(c *x509.Certificate, now time.Time) error {
	if invalid, remedy := Invalidity(c, now); invalid != "" {
		return &Problem{Sentence: invalid + ": " + remedy}
	}
	return nil
}

// Invalidity says why c is not valid at now, and what a person can do. Both are empty if
// c is valid.
func Invalidity(c *x509.Certificate, now time.Time) (invalid, remedy string) {
	switch {
	case now.After(c.NotAfter):
		return "expired on " + c.NotAfter.UTC().Format(time.RFC3339), "renew it"
	case now.Before(c.NotBefore):
		return "is not valid before " + c.NotBefore.UTC().Format(time.RFC3339), "wait, or set the clock right"
	default:
		return "", ""
	}
}
