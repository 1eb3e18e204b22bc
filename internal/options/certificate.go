// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/regularfile"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
)

// tlsFiles are the three PEM files and the places that name them.
type tlsFiles struct {
	ca, cert, key tlsFile
	name          tlsFile // no file: the server name beside them, if any
	server        bool    // the pair is a server's
}

// tlsFile is a path, which is empty if none was given.
type tlsFile struct {
	path   string
	source source
}

// check refuses files with which each handshake would fail.
func (f tlsFiles) check(now time.Time) error {
	if f.ca.path != "" {
		if err := f.ca.checkCA(now); err != nil {
			return err
		}
	}
	if err := f.checkPaired(); err != nil || f.cert.path == "" {
		return err
	}
	return f.checkPair(now)
}

// checkPaired refuses a client certificate without its key, and a key without its
// certificate.
func (f tlsFiles) checkPaired() error {
	switch {
	case f.cert.path != "" && f.key.path == "":
		return f.cert.source.refuse(fmt.Sprintf("is a certificate without its key: give %s as well", f.key.source.name), nil)
	case f.cert.path == "" && f.key.path != "":
		return f.key.source.refuse(fmt.Sprintf("is a key without its certificate: give %s as well", f.cert.source.name), nil)
	default:
		return nil
	}
}

// checkCA refuses a bundle without a certificate that is valid now.
func (f tlsFile) checkCA(now time.Time) error {
	data, err := f.read()
	if err != nil {
		return err
	}
	return f.refuse(tlsfiles.CheckCA(data, now))
}

// checkPair refuses a certificate that no server could accept, or for a server's no client.
func (f tlsFiles) checkPair(now time.Time) error {
	certificate, err := f.cert.read()
	if err != nil {
		return err
	}
	// An error of the certificate comes before one of the key.
	if err := tlsfiles.CheckCertificate(certificate); err != nil {
		return f.cert.refuse(err)
	}
	key, err := f.key.read()
	if err != nil {
		return err
	}
	check := tlsfiles.CheckPair
	if f.server {
		check = tlsfiles.CheckServerPair
	}
	err = check(certificate, key, now)
	problem, _ := errors.AsType[*tlsfiles.Problem](err)
	switch {
	case errors.Is(err, tlsfiles.ErrNotAPair):
		return f.cert.source.refuse(fmt.Sprintf("does not belong to %s %q: give the certificate and the key of one pair", f.key.source.name, f.key.path), err)
	case problem != nil && problem.Key:
		return f.key.refuse(err)
	default:
		return f.cert.refuse(err)
	}
}

// refuse returns an error of tlsfiles about the file's content as a UsageError, and nil
// for nil.
func (f tlsFile) refuse(err error) error {
	problem, ok := errors.AsType[*tlsfiles.Problem](err)
	if !ok {
		return err
	}
	return f.source.refuse(problem.Sentence, problem.Err)
}

// read returns the content of the file.
func (f tlsFile) read() ([]byte, error) {
	return readFile(f.path, f.source)
}

// readFile reads a file that a flag names.
func readFile(path string, from source) ([]byte, error) {
	data, err := regularfile.Read(path)
	switch {
	case errors.Is(err, regularfile.ErrTooLarge):
		return nil, from.refuse(fmt.Sprintf("is larger than %d bytes, so it is not what it should be: name another file", regularfile.MaxSize), err)
	case err != nil:
		return nil, from.refuse("cannot be read: "+flagset.FileProblemInPod(err), err)
	default:
		return data, nil
	}
}
