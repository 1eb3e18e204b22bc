// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Files holds the TLS files and reads them again when they have changed.
//
// It looks at each new handshake, and now and then by itself. Connections that
// stand are not touched. CA and client pair are read apart from each other: what
// is wrong with the one does not keep a change of the other from being used. It
// is safe for concurrent use.
type Files struct {
	files   tunnel.TLS
	log     *slog.Logger
	expires func(notAfter time.Time) // told when the client certificate in use expires

	// mu guards what follows. It is held while files are read.
	mu     sync.Mutex
	roots  fileSet
	client fileSet
	loaded *tls.Config
	loads  int

	rootsExpiry, clientExpiry reminder
}

// New returns the files that are named, which it does not read yet. Errors call the
// settings by names. expires is called with the end of each client certificate that
// comes into use.
func New(files tunnel.TLS, names tunnel.SettingNames, log *slog.Logger, expires func(notAfter time.Time)) *Files {
	f := &Files{files: files, log: log, expires: expires}
	if files.CAFile != "" {
		f.roots = fileSet{files: []string{files.CAFile}, names: []string{names.CACert}, parse: parseRoots}
	}
	if files.CertFile != "" {
		f.client = fileSet{files: []string{files.CertFile, files.KeyFile}, names: []string{names.ClientCert, names.ClientKey}, parse: parsePair}
	}
	return f
}

// Config returns a configuration for one handshake, which the caller may change.
// Sessions are resumed among all handshakes that used the same files.
func (f *Files) Config() (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(time.Now()); err != nil {
		return nil, err
	}
	return f.loaded.Clone(), nil
}

// HasClient reports whether a client certificate is named.
func (f *Files) HasClient() bool { return f.files.CertFile != "" }

// Version returns a number that grows with each change of the files to others
// that can be used.
func (f *Files) Version() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.refresh(time.Now()) // what is wrong is said where a handshake needs them
	return f.loads
}

// refresh reads the files where they have changed. It returns an error where
// they cannot be used and no earlier ones can.
func (f *Files) refresh(now time.Time) error {
	changed := f.loaded == nil
	for _, m := range []*fileSet{&f.roots, &f.client} {
		fresh, err := m.refresh(now)
		changed = changed || fresh
		switch {
		case err == nil:
			m.reported = ""
		case m.current == nil:
			return err
		case m.reported != err.Error():
			m.reported = err.Error()
			f.log.Error("the changed TLS files cannot be used; the ones read before stay in use", "error", err)
		}
	}
	if !changed {
		return nil
	}
	if f.loaded != nil {
		f.log.Info("the TLS files have changed; new connections use the new ones")
	}
	f.loaded = f.build()
	f.loads++
	if f.client.current != nil {
		f.expires(f.client.current.next(now).NotAfter)
	}
	return nil
}

// maxChain is how many bytes the certificates of a server have at most, those that it
// sends for nothing included: crypto/tls keeps all of them, parsed, for as long as the
// connection stands. A chain of three with RSA keys of 4096 bits has 6 KiB.
const maxChain = 32 << 10

// boundChain refuses certificates of more than maxChain bytes.
func boundChain(chain [][]byte, _ [][]*x509.Certificate) error {
	size := 0
	for _, certificate := range chain {
		size += len(certificate)
	}
	if size > maxChain {
		return fmt.Errorf("it has sent %d bytes of certificates, and %d are allowed: give it its own certificate and those between it and the CA, and no others", size, maxChain)
	}
	return nil
}

func (f *Files) build() *tls.Config {
	cfg := &tls.Config{
		MinVersion:            tls.VersionTLS12,
		ServerName:            f.files.ServerName,
		NextProtos:            f.files.ALPN,
		ClientSessionCache:    tls.NewLRUClientSessionCache(0),
		VerifyPeerCertificate: boundChain,
		// Records that grow while a connection is young cost a bulk transfer more
		// than they save.
		DynamicRecordSizingDisabled: true,
	}
	if r := f.roots.current; r != nil {
		cfg.RootCAs = r.roots
	}
	if p := f.client.current; p != nil {
		cfg.Certificates = []tls.Certificate{p.pair}
	}
	return cfg
}
