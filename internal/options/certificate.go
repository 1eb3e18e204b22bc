// SPDX-License-Identifier: Apache-2.0

package options

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxFile bounds what is read of any file: a CA bundle with every public CA
// has a quarter of it.
const maxFile = 1 << 20

// tlsFiles are the three PEM files and where they were named.
type tlsFiles struct {
	ca, cert, key tlsFile
	name          tlsFile // no file: the server name that came with them, if any
}

// tlsFile is a path, empty where none was given.
type tlsFile struct {
	path   string
	source source
}

// check refuses, at start, whatever would fail each handshake later on.
func (f tlsFiles) check(now time.Time) error {
	if f.ca.path != "" {
		if err := f.ca.checkCA(now); err != nil {
			return err
		}
	}
	switch {
	case f.cert.path == "" && f.key.path == "":
		return nil
	case f.key.path == "":
		return f.cert.source.refuse(fmt.Sprintf("is a certificate without its key: give %s as well", f.key.source.name), nil)
	case f.cert.path == "":
		return f.key.source.refuse(fmt.Sprintf("is a key without its certificate: give %s as well", f.cert.source.name), nil)
	}
	return f.checkPair(now)
}

// checkCA refuses a bundle without a certificate that is valid now.
func (f tlsFile) checkCA(now time.Time) error {
	data, err := f.read()
	if err != nil {
		return err
	}
	certificates, err := f.certificates(data)
	if err != nil {
		return err
	}
	// A bundle may carry an old CA during a rotation, but not only old ones.
	var invalid error
	for _, c := range certificates {
		if invalid = f.checkValidity(c, now); invalid == nil {
			return nil
		}
	}
	return invalid
}

// checkPair refuses a client certificate that no server could accept.
func (f tlsFiles) checkPair(now time.Time) error {
	certPEM, err := f.cert.read()
	if err != nil {
		return err
	}
	certificates, err := f.cert.certificates(certPEM)
	if err != nil {
		return err
	}
	keyPEM, err := f.key.read()
	if err != nil {
		return err
	}
	if err := f.key.checkKey(keyPEM); err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return f.cert.source.refuse(fmt.Sprintf("does not belong to %s %q: give the certificate and the key of one pair", f.key.source.name, f.key.path), err)
	}
	leaf := certificates[0]
	if err := f.cert.checkValidity(leaf, now); err != nil {
		return err
	}
	if len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return f.cert.source.refuse("is not for clients, and every server would refuse it: have one issued with extended key usage clientAuth", nil)
	}
	return nil
}

// certificates returns those in data, at least one.
func (f tlsFile) certificates(data []byte) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	var others []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			others = append(others, kind(block))
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, f.source.refuse(fmt.Sprintf("has a broken certificate, the %s: write the file again", ordinal(len(certificates)+1)), err)
		}
		certificates = append(certificates, c)
	}
	switch {
	case len(certificates) > 0:
		return certificates, nil
	case len(others) > 0:
		return nil, f.source.refuse(fmt.Sprintf("has no certificate in it but %s: are the files swapped?", strings.Join(others, ", ")), nil)
	default:
		return nil, f.source.refuse("has no PEM certificate in it: give a file with -----BEGIN CERTIFICATE-----", nil)
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

// checkKey refuses a file without a key that can be used as it is. Nothing of
// the file gets into a sentence.
func (f tlsFile) checkKey(data []byte) error {
	var others []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			others = append(others, kind(block))
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return f.source.refuse("is encrypted, and nobody is there to type the password: give the key unencrypted", nil)
		}
		if !isKey(block.Bytes) {
			return f.source.refuse("has a broken private key: write the file again", nil)
		}
		return nil
	}
	if len(others) > 0 {
		return f.source.refuse(fmt.Sprintf("has no private key in it but %s: are the files swapped?", strings.Join(slices.Compact(others), ", ")), nil)
	}
	return f.source.refuse("has no PEM private key in it: give a file with -----BEGIN PRIVATE KEY-----", nil)
}

// isKey tries the three encodings that crypto/tls takes.
func isKey(der []byte) bool {
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(der)
	_, sec1 := x509.ParseECPrivateKey(der)
	return pkcs8 == nil || pkcs1 == nil || sec1 == nil
}

func (f tlsFile) checkValidity(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return f.source.refuse(fmt.Sprintf("expired on %s: renew it", c.NotAfter.UTC().Format(time.RFC3339)), nil)
	case now.Before(c.NotBefore):
		return f.source.refuse(fmt.Sprintf("is not valid before %s: wait, or set the clock right", c.NotBefore.UTC().Format(time.RFC3339)), nil)
	}
	return nil
}

// read returns what is in the file.
func (f tlsFile) read() ([]byte, error) {
	return readFile(f.path, f.source)
}

// readFile reads a file that a flag names, up to maxFile.
func readFile(path string, from source) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, from.refuse("cannot be read: "+reason(err), err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, from.refuse("cannot be read: "+reason(err), err)
	}
	if len(data) > maxFile {
		return nil, from.refuse(fmt.Sprintf("is larger than %d bytes, so it is not what it should be", maxFile), nil)
	}
	return data, nil
}

// Unreadable says why a file that a flag names could not be opened or read, with the next
// step.
func Unreadable(flag, path string, err error) error {
	return flagSource(flag, path).refuse("cannot be read: "+reason(err), err)
}

// reason says why a path could not be opened or read, with the next step.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file, or its volume is not mounted here"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("permission denied; give uid %d the right to read it (in a pod: the volume's defaultMode and the pod's fsGroup)", os.Getuid())
	case errors.Is(err, syscall.EISDIR):
		return "it is a directory; name the file in it"
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error() // the path is in the sentence already
	}
	return err.Error()
}
