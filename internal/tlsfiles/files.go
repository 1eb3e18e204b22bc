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

// Files holds the TLS files, and reads them again after they have changed. It is safe
// for concurrent use.
//
// It checks for a change at each handshake, and every minute while Watch runs.
// Connections that are open stay as they are. CA bundle and client pair are read apart
// from each other. If one of them is broken, a change of the other is still used.
type Files struct {
	files tunnel.TLS
	log   *slog.Logger
	inUse func(Role, *x509.Certificate)
	side  side

	mu     sync.Mutex // guards the fields below; it is held while files are read
	roots  fileSet
	client fileSet
	loaded *tls.Config
	loads  int

	rootsExpiry, clientExpiry reminder
}

// Role says what a certificate of the files is for. It is the label of a metric.
type Role string

// The roles.
const (
	RoleCA     Role = "ca"     // of the bundle with which servers are verified
	RoleClient Role = "client" // of the client's chain
	RoleServer Role = "server" // of the server's chain
)

// side is what differs between a program that connects and one that is connected to.
type side struct {
	role               Role // of the pair
	pairWords, caWords [IsOver + 1]string
	namelessWords      string // of a pair in which the peer finds no name to verify; empty if it looks for none
}

// New returns the files that are named, which it does not read yet. Errors call the
// settings by names. inUse is called with the certificate of each role whose end will be
// the first to matter, after each change of the files, and every minute while Watch runs.
func New(files tunnel.TLS, names tunnel.SettingNames, log *slog.Logger, inUse func(Role, *x509.Certificate)) *Files {
	f := &Files{files: files, log: log, inUse: inUse, side: clientSide()}
	if files.CAFile != "" {
		f.roots = fileSet{files: []string{files.CAFile}, names: []string{names.CACert}, parse: parseRoots}
	}
	if files.CertFile != "" {
		f.client = fileSet{files: []string{files.CertFile, files.KeyFile}, names: []string{names.ClientCert, names.ClientKey}, parse: parsePair}
	}
	return f
}

// NewServer is New for a server. The CAs are those of its clients, and the pair is its own.
func NewServer(files tunnel.TLS, names tunnel.SettingNames, log *slog.Logger, inUse func(Role, *x509.Certificate)) *Files {
	f := New(files, names, log, inUse)
	f.side = serverSide()
	f.roots.parse, f.client.parse = parseClientRoots, parseServerPair
	return f
}

// ServerConfig returns what a server needs for one handshake: its pair, and the CAs of
// clients. version differs after each change of the files.
func (f *Files) ServerConfig() (pair tls.Certificate, clients *x509.CertPool, version int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(time.Now()); err != nil {
		return pair, nil, 0, err
	}
	return f.client.current.pair, f.roots.current.roots, f.loads, nil
}

// Broken reports whether the files have changed and cannot be used.
func (f *Files) Broken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.client.reported != "" || f.roots.reported != ""
}

// Config returns a configuration for one handshake, which the caller may change.
// Handshakes that use the same files resume each other's sessions.
func (f *Files) Config() (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(time.Now()); err != nil {
		return nil, err
	}
	return f.loaded.Clone(), nil
}

// Settings returns what was given to New: the paths of the files, and the server's name.
func (f *Files) Settings() tunnel.TLS { return f.files }

// HasClient reports whether a client certificate is named.
func (f *Files) HasClient() bool { return f.files.CertFile != "" }

// CheckCAs returns an error if no CA in use is valid at now. It names the file, and says
// what to do.
func (f *Files) CheckCAs(now time.Time) error { return f.check(&f.roots, now) }

// CheckClient does the same as CheckCAs for the client certificate in use.
func (f *Files) CheckClient(now time.Time) error { return f.check(&f.client, now) }

func (f *Files) check(set *fileSet, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if set.current == nil {
		return nil
	}
	invalid := set.current.invalid(now)
	if invalid == nil {
		return nil
	}
	reason, remedy := Invalidity(invalid, now)
	return fmt.Errorf("%s %q %s, and the clock here says %s: %s", set.names[0], set.files[0], reason, now.UTC().Format(time.RFC3339), remedy)
}

// Version returns a number that grows with each change of the files to content that can
// be used.
func (f *Files) Version() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.refresh(time.Now()) // Config returns the error to a handshake
	return f.loads
}

// refresh reads the files if they have changed. It returns an error if they cannot be
// used and there is no earlier content. The caller holds mu.
func (f *Files) refresh(now time.Time) error {
	changed, freshPair := f.loaded == nil, false
	var freshFiles []string
	for _, set := range []*fileSet{&f.roots, &f.client} {
		fresh, err := set.refresh(now)
		if fresh {
			changed, freshPair = true, set == &f.client
			freshFiles = append(freshFiles, set.files...)
		}
		switch {
		case err == nil:
			if set.reported != "" && !fresh {
				f.log.Info("these TLS files can be used again; their content is the one in use", "files", set.files)
			}
			set.reported = ""
		case set.current == nil:
			return err
		case set.reported != err.Error():
			set.reported = err.Error()
			f.log.Error("the changed TLS files cannot be used; the ones read before stay in use", "error", err)
		}
	}
	if !changed {
		return nil
	}
	if f.loaded != nil {
		f.log.Info("the TLS files have changed; new connections use the new ones", "files", freshFiles)
	}
	if freshPair {
		f.warnOfNoName()
	}
	f.loaded = f.build()
	f.loads++
	f.tellInUse(now)
	return nil
}

// warnOfNoName warns of a server's certificate in which clients find no name. They do not look
// at the common name (RFC 9525). The caller holds mu.
func (f *Files) warnOfNoName() {
	leaf := f.client.current.chain[0]
	if f.side.namelessWords != "" && len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		f.log.Warn(f.side.namelessWords, "file", f.files.CertFile, "subject", leaf.Subject.String())
	}
}

// tellInUse calls inUse. The caller holds mu.
func (f *Files) tellInUse(now time.Time) {
	if p := f.client.current; p != nil {
		f.inUse(f.side.role, p.next(now))
	}
	if p := f.roots.current; p != nil {
		f.inUse(RoleCA, p.next(now))
	}
}

// maxChain is how many bytes of certificates a server may send, needless ones included.
// crypto/tls keeps all of them, parsed, for as long as the connection is open. A chain of
// three with RSA keys of 4096 bits has 6 KiB.
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

// build returns the configuration that the content in use makes. The caller holds mu.
func (f *Files) build() *tls.Config {
	cfg := &tls.Config{
		MinVersion:            tls.VersionTLS12,
		ServerName:            f.files.ServerName,
		NextProtos:            f.files.ALPN,
		ClientSessionCache:    tls.NewLRUClientSessionCache(0),
		VerifyPeerCertificate: boundChain,
		// Without this, crypto/tls begins a connection with small records. They cost a
		// bulk transfer more than they save.
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
