// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// certificates holds the TLS files and reads them again when they have changed.
//
// It looks at each new handshake: a changed modification time, size or inode of
// any file, seen through symbolic links, which is how Kubernetes swaps mounted
// Secrets. Connections that stand are not touched. It is safe for concurrent
// use.
type certificates struct {
	files options.TLS
	log   *slog.Logger

	mu       sync.Mutex
	stamps   [3]stamp
	loaded   *tls.Config
	loads    int
	reported string // what is wrong with the files, so that it is said once
}

// stamp tells one version of a file from the next.
type stamp struct {
	modified time.Time
	size     int64
	info     os.FileInfo
}

func newCertificates(files options.TLS, log *slog.Logger) *certificates {
	return &certificates{files: files, log: log}
}

// config returns a configuration for one handshake, which the caller may change.
// Sessions are resumed among all handshakes that used the same files.
func (c *certificates) config() (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refresh(); err != nil {
		return nil, err
	}
	return c.loaded.Clone(), nil
}

// version returns a number that grows with each change of the files to others
// that can be used.
func (c *certificates) version() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.refresh() // what is wrong is said where a handshake needs them
	return c.loads
}

// refresh reads the files where they have changed. It returns an error where
// they cannot be used and no earlier ones can.
func (c *certificates) refresh() error {
	stamps, err := c.look()
	if err == nil && (c.loaded == nil || changed(c.stamps, stamps)) {
		c.stamps = stamps
		var loaded *tls.Config
		if loaded, err = c.load(); err == nil {
			if c.loaded != nil {
				c.log.Info("the TLS files have changed; new connections use the new ones")
			}
			c.loaded, c.reported = loaded, ""
			c.loads++
		}
	}
	if err == nil || c.loaded == nil {
		return err
	}
	if c.reported != err.Error() {
		c.reported = err.Error()
		c.log.Error("the changed TLS files cannot be used; the ones read before stay in use", "error", err)
	}
	return nil
}

func (c *certificates) look() (s [3]stamp, err error) {
	for i, name := range []string{c.files.CAFile, c.files.CertFile, c.files.KeyFile} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return s, err
		}
		s[i] = stamp{modified: info.ModTime(), size: info.Size(), info: info}
	}
	return s, nil
}

func changed(a, b [3]stamp) bool {
	for i := range a {
		if !a[i].modified.Equal(b[i].modified) || a[i].size != b[i].size {
			return true
		}
		if a[i].info != nil && b[i].info != nil && !os.SameFile(a[i].info, b[i].info) {
			return true
		}
	}
	return false
}

func (c *certificates) load() (*tls.Config, error) {
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         c.files.ServerName,
		NextProtos:         c.files.ALPN,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if c.files.CAFile != "" {
		pem, err := os.ReadFile(c.files.CAFile)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-cert %q: no PEM certificate in it", c.files.CAFile)
		}
	}
	if c.files.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("--client-cert %q, --client-key %q: %w", c.files.CertFile, c.files.KeyFile, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
