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

	mu     sync.Mutex
	stamps [3]stamp
	loaded *tls.Config
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
	stamps, err := c.look()
	if err == nil && (c.loaded == nil || changed(c.stamps, stamps)) {
		c.stamps = stamps
		var loaded *tls.Config
		if loaded, err = c.load(); err == nil {
			c.loaded = loaded
		}
	}
	if err != nil {
		if c.loaded == nil {
			return nil, err
		}
		c.log.Error("the changed TLS files cannot be used; the ones read before stay in use", "error", err)
	}
	return c.loaded.Clone(), nil
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
