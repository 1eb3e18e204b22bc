// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/regularfile"
)

// maxFiles are the files of a fileSet at most.
const maxFiles = 2

// fileSet holds the content of one or two files that belong together: the CA bundle, or
// the client's certificate and key. The zero value has no files.
type fileSet struct {
	files []string
	names []string // of their settings
	parse func(data [][]byte) (*parsed, error)

	stamps   [maxFiles]stamp
	current  *parsed // in use; nil before the first read that succeeds
	failed   bool    // whether the files could not be used when last read
	reported string  // the last error that was logged, so that each is logged once
}

// refresh reads the files if they have changed, or could not be used before. It reports
// whether there is new content to use.
//
// A certificate and its key are not replaced at the same moment. In between they do not
// belong together, so files that cannot be used are read again each time.
//
// Content that is not valid at now does not replace content that is. A pair that has
// expired, or a bundle whose CAs all have, is used only if there is nothing better.
func (s *fileSet) refresh(now time.Time) (changed bool, err error) {
	if len(s.files) == 0 {
		return false, nil
	}
	stamps, err := stampsOf(s.files)
	if err != nil {
		return false, err
	}
	if s.current != nil && !s.failed && s.stamps == stamps {
		return false, nil
	}
	s.failed = true
	data, err := s.read()
	if err != nil {
		return false, err
	}
	if s.current == nil || !slices.EqualFunc(data, s.current.data, bytes.Equal) {
		p, err := s.parse(data)
		if err != nil {
			return false, fmt.Errorf("%s: %w", s.name(), err)
		}
		if err := p.validity(now); err != nil && s.current != nil && s.current.validity(now) == nil {
			return false, fmt.Errorf("%s: %w", s.name(), err)
		}
		p.data = data
		s.current, changed = p, true
	}
	// The stamps are older than the content, so a change in between is noticed.
	s.stamps, s.failed = stamps, false
	return changed, nil
}

func (s *fileSet) read() ([][]byte, error) {
	data := make([][]byte, len(s.files))
	for i, name := range s.files {
		var err error
		if data[i], err = regularfile.Read(name); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// name returns the beginning of a sentence about the files.
func (s *fileSet) name() string {
	named := make([]string, len(s.files))
	for i, file := range s.files {
		named[i] = fmt.Sprintf("%s %q", s.names[i], file)
	}
	return strings.Join(named, ", ")
}

// parsed is the content of a fileSet.
type parsed struct {
	data  [][]byte            // as read, one element for each file
	chain []*x509.Certificate // every certificate, at least one
	roots *x509.CertPool      // of a CA bundle; nil for a client's pair
	pair  tls.Certificate     // of a client
}

// parseRoots parses a CA bundle. Like x509.CertPool, it leaves out a certificate that Go
// cannot parse.
func parseRoots(data [][]byte) (*parsed, error) {
	if !isWhole(data[0]) {
		return nil, errCutOff
	}
	p := &parsed{roots: x509.NewCertPool()}
	for cert, err := range certificates(data[0]) {
		if err == nil {
			p.roots.AddCert(cert)
			p.chain = append(p.chain, cert)
		}
	}
	if len(p.chain) == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return p, nil
}

// parseClientRoots parses a server's bundle of its clients' CAs. It refuses a certificate
// that Go cannot parse: with the others the server would turn away clients that it serves.
func parseClientRoots(data [][]byte) (*parsed, error) {
	if _, err := parseAll(data[0]); err != nil {
		return nil, err
	}
	return parseRoots(data)
}

// parseServerPair is parsePair for a server's certificate.
func parseServerPair(data [][]byte) (*parsed, error) {
	p, err := parsePair(data)
	if err == nil && !isFor(p.chain[0], x509.ExtKeyUsageServerAuth) {
		return nil, errNotForServers
	}
	return p, err
}

// parsePair parses a client's certificate, with the chain behind it, and its key.
func parsePair(data [][]byte) (*parsed, error) {
	pair, err := tls.X509KeyPair(data[0], data[1])
	if err != nil {
		return nil, err
	}
	p := &parsed{pair: pair}
	for cert, err := range certificates(data[0]) {
		if err != nil {
			return nil, err
		}
		p.chain = append(p.chain, cert)
	}
	if !isWhole(data[0]) {
		return nil, errCutOff
	}
	return p, nil
}

// validity returns an error if no peer accepts p at now.
func (p *parsed) validity(now time.Time) error {
	cert := p.invalid(now)
	if cert == nil {
		return nil
	}
	reason, _ := Invalidity(cert, now)
	return fmt.Errorf("certificate %q %s", cert.Subject, reason)
}

// invalid returns the certificate for which no peer accepts p at now, or nil. Every
// certificate of a client's chain has to be valid. Of a bundle one is enough: it may carry
// old ones while it is being rotated.
func (p *parsed) invalid(now time.Time) (invalid *x509.Certificate) {
	for _, cert := range p.chain {
		if reason, _ := Invalidity(cert, now); reason != "" {
			invalid = cert
		} else if p.roots != nil {
			return nil
		}
	}
	return invalid
}

// stamp tells one version of a file from the next. It is taken through symbolic links,
// by which Kubernetes replaces mounted Secrets.
type stamp struct {
	device, inode uint64
	modified      unix.Timespec
	size          int64
}

// stampsOf returns the stamps of files. Each dial calls it. It costs a system call for
// each file, and no memory.
func stampsOf(files []string) (stamps [maxFiles]stamp, err error) {
	for i, name := range files {
		var s unix.Stat_t
		if err := unix.Stat(name, &s); err != nil {
			return stamps, &os.PathError{Op: "stat", Path: name, Err: err}
		}
		stamps[i] = stamp{device: uint64(s.Dev), inode: s.Ino, modified: s.Mtim, size: s.Size}
	}
	return stamps, nil
}
