// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// certificates holds the TLS files and reads them again when they have changed.
//
// It looks at each new handshake, and now and then by itself. Connections that
// stand are not touched. CA and client pair are read apart from each other: what
// is wrong with the one does not keep a change of the other from being used. It
// is safe for concurrent use.
type certificates struct {
	files   tunnel.TLS
	log     *slog.Logger
	metrics *Metrics

	mu     sync.Mutex
	roots  material
	client material
	loaded *tls.Config
	loads  int

	rootsExpiry, clientExpiry reminder
}

func newCertificates(files tunnel.TLS, log *slog.Logger, metrics *Metrics) *certificates {
	c := &certificates{files: files, log: log, metrics: metrics}
	if files.CAFile != "" {
		c.roots = material{files: []string{files.CAFile}, parse: parseRoots}
	}
	if files.CertFile != "" {
		c.client = material{files: []string{files.CertFile, files.KeyFile}, parse: parsePair}
	}
	return c
}

// config returns a configuration for one handshake, which the caller may change.
// Sessions are resumed among all handshakes that used the same files.
func (c *certificates) config() (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refresh(time.Now()); err != nil {
		return nil, err
	}
	return c.loaded.Clone(), nil
}

// version returns a number that grows with each change of the files to others
// that can be used.
func (c *certificates) version() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.refresh(time.Now()) // what is wrong is said where a handshake needs them
	return c.loads
}

// refresh reads the files where they have changed. It returns an error where
// they cannot be used and no earlier ones can.
func (c *certificates) refresh(now time.Time) error {
	changed := c.loaded == nil
	for _, m := range []*material{&c.roots, &c.client} {
		fresh, err := m.refresh(now)
		changed = changed || fresh
		switch {
		case err == nil:
			m.reported = ""
		case m.current == nil:
			return err
		case m.reported != err.Error():
			m.reported = err.Error()
			c.log.Error("the changed TLS files cannot be used; the ones read before stay in use", "error", err)
		}
	}
	if !changed {
		return nil
	}
	if c.loaded != nil {
		c.log.Info("the TLS files have changed; new connections use the new ones")
	}
	c.loaded = c.build()
	c.loads++
	if c.client.current != nil {
		c.metrics.certificateExpires(c.client.current.next(now).NotAfter)
	}
	return nil
}

// sessionsOf is the part of a session cache that belongs to one endpoint.
// crypto/tls looks for sessions by the server's name, behind which there may be
// several, and none of them resumes what another has begun.
type sessionsOf struct {
	tls.ClientSessionCache
	endpoint string
}

// Get implements tls.ClientSessionCache.
func (s sessionsOf) Get(key string) (*tls.ClientSessionState, bool) {
	return s.ClientSessionCache.Get(s.endpoint + " " + key)
}

// Put implements tls.ClientSessionCache.
func (s sessionsOf) Put(key string, session *tls.ClientSessionState) {
	s.ClientSessionCache.Put(s.endpoint+" "+key, session)
}

// mostChain is how many bytes the certificates of a server have at most, those that it
// sends for nothing included: crypto/tls keeps all of them, parsed, for as long as the
// connection stands. A chain of three with RSA keys of 4096 bits has 6 KiB.
const mostChain = 32 << 10

// boundChain refuses certificates of more than mostChain bytes.
func boundChain(chain [][]byte, _ [][]*x509.Certificate) error {
	size := 0
	for _, certificate := range chain {
		size += len(certificate)
	}
	if size > mostChain {
		return fmt.Errorf("it has sent %d bytes of certificates, and %d are allowed: give it its own certificate and those between it and the CA, and no others", size, mostChain)
	}
	return nil
}

func (c *certificates) build() *tls.Config {
	cfg := &tls.Config{
		MinVersion:            tls.VersionTLS12,
		ServerName:            c.files.ServerName,
		NextProtos:            c.files.ALPN,
		ClientSessionCache:    tls.NewLRUClientSessionCache(0),
		VerifyPeerCertificate: boundChain,
		// Records that grow while a connection is young cost a bulk transfer more
		// than they save.
		DynamicRecordSizingDisabled: true,
	}
	if r := c.roots.current; r != nil {
		cfg.RootCAs = r.roots
	}
	if p := c.client.current; p != nil {
		cfg.Certificates = []tls.Certificate{p.pair}
	}
	return cfg
}
