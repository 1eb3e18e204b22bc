// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxFiles are the files of a fileSet at most.
const maxFiles = 2

// fileSet is what one or two files hold that belong together: the CA bundle, or
// the client's certificate and key. The zero value has no files.
type fileSet struct {
	files []string
	names []string // of their settings
	parse func(data [][]byte) (*parsed, error)

	stamps   [maxFiles]stamp
	current  *parsed // what is in use; nil where there is nothing yet
	failed   bool    // whether the files could not be used when last read
	reported string  // what is wrong with them, so that it is said once
}

// refresh reads the files where they have changed, or could not be used, and
// reports whether there is something new to use. Who replaces a certificate and
// then its key leaves, for a moment, two that do not belong together.
//
// What is not valid now does not replace what is: a pair that has expired, or a
// bundle of CAs that all have, is used only where nothing better is there.
func (s *fileSet) refresh(now time.Time) (changed bool, err error) {
	if len(s.files) == 0 {
		return false, nil
	}
	stamps, err := look(s.files)
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
	// The stamps are older than what was read: a change in between is seen.
	s.stamps, s.failed = stamps, false
	return changed, nil
}

func (s *fileSet) read() ([][]byte, error) {
	data := make([][]byte, len(s.files))
	for i, name := range s.files {
		var err error
		if data[i], err = os.ReadFile(name); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// name is how a sentence about the files begins.
func (s *fileSet) name() string {
	named := make([]string, len(s.files))
	for i, file := range s.files {
		named[i] = fmt.Sprintf("%s %q", s.names[i], file)
	}
	return strings.Join(named, ", ")
}

// parsed is the content of a fileSet.
type parsed struct {
	data  [][]byte            // as read
	chain []*x509.Certificate // all of them, at least one
	roots *x509.CertPool      // of a CA bundle, else nil
	pair  tls.Certificate     // of a client
}

// parseRoots parses a CA bundle.
func parseRoots(data [][]byte) (*parsed, error) {
	p := &parsed{roots: x509.NewCertPool()}
	for block, rest := pem.Decode(data[0]); block != nil; block, rest = pem.Decode(rest) {
		// What Go cannot parse verifies nothing, as in x509.CertPool.
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			p.roots.AddCert(cert)
			p.chain = append(p.chain, cert)
		}
	}
	if len(p.chain) == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return p, nil
}

// parsePair parses a client's certificate, with the chain behind it, and key.
func parsePair(data [][]byte) (*parsed, error) {
	pair, err := tls.X509KeyPair(data[0], data[1])
	if err != nil {
		return nil, err
	}
	p := &parsed{pair: pair}
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		p.chain = append(p.chain, cert)
	}
	return p, nil
}

// validity says why nobody accepts p at now: one certificate of a client's chain
// is not valid, or none of a bundle is, which may carry old ones while it is
// being rotated.
func (p *parsed) validity(now time.Time) (err error) {
	for _, cert := range p.chain {
		if cerr := validAt(now, cert); cerr != nil {
			err = cerr
		} else if p.roots != nil {
			return nil
		}
	}
	return err
}

// validAt says why nobody accepts cert at now.
func validAt(now time.Time, cert *x509.Certificate) error {
	switch {
	case now.After(cert.NotAfter):
		return fmt.Errorf("certificate %q expired on %s", cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("certificate %q is not valid before %s", cert.Subject, cert.NotBefore.UTC().Format(time.RFC3339))
	default:
		return nil
	}
}

// stamp tells one version of a file from the next, seen through symbolic links,
// which is how Kubernetes swaps mounted Secrets.
type stamp struct {
	device, inode uint64
	modified      unix.Timespec
	size          int64
}

// look returns what files are now. Each dial does: it costs a system call for
// each file, and no memory.
func look(files []string) (stamps [maxFiles]stamp, err error) {
	for i, name := range files {
		var s unix.Stat_t
		if err := unix.Stat(name, &s); err != nil {
			return stamps, &os.PathError{Op: "stat", Path: name, Err: err}
		}
		stamps[i] = stamp{device: s.Dev, inode: s.Ino, modified: s.Mtim, size: s.Size}
	}
	return stamps, nil
}
