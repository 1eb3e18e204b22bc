// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/regularfile"
)

// errNoCertificate is the error until a certificate is loaded.
var errNoCertificate = errors.New("no certificate yet")

// certificates loads the serving certificate, and reloads it when its files change.
type certificates struct {
	dir     string
	metrics *Metrics
	log     *slog.Logger
	loaded  chan struct{} // closed when a certificate is loaded
	current atomic.Pointer[tls.Certificate]

	cert, key []byte // the file contents of current
	// lastProblem is what was wrong at the last check. reported is the problem in the
	// last log line.
	lastProblem, reported string
}

func newCertificates(dir string, metrics *Metrics, log *slog.Logger) *certificates {
	return &certificates{dir: dir, metrics: metrics, log: log, loaded: make(chan struct{})}
}

// files returns the paths of the certificate and the key. They are named as in a Secret
// of type kubernetes.io/tls.
func (c *certificates) files() (cert, key string) {
	return filepath.Join(c.dir, "tls.crt"), filepath.Join(c.dir, "tls.key")
}

// read returns what the files have.
func (c *certificates) read() (cert, key []byte, err error) {
	certFile, keyFile := c.files()
	if cert, err = regularfile.Read(certFile); err != nil {
		return nil, nil, err
	}
	key, err = regularfile.Read(keyFile)
	return cert, key, err
}

// check refuses a folder without a usable certificate. It is called if the webhook does
// not manage certificates itself.
func (c *certificates) check() error {
	cert, key, err := c.read()
	if err == nil {
		_, err = tls.X509KeyPair(cert, key)
	}
	if err != nil {
		return &flagset.UsageError{
			Flag: "--cert-dir", Value: c.dir, Err: err,
			Problem: fmt.Sprintf("has no certificate that can be used (%s): mount a Secret with tls.crt and tls.key there, or set --manage-certificates", reason(err)),
		}
	}
	return nil
}

// reason returns why a certificate and its key cannot be used, and names the file.
func reason(err error) string {
	said := err.Error()
	switch path, ok := errors.AsType[*fs.PathError](err); {
	case ok:
		return fmt.Sprintf("%s: %s", filepath.Base(path.Path), path.Err)
	case strings.Contains(said, "in certificate input"):
		return "tls.crt is not PEM, or has no certificate"
	case strings.Contains(said, "in key input"):
		return "tls.key is not PEM, or has no private key"
	case strings.Contains(said, "private key does not match"), strings.Contains(said, "private key type does not match"):
		return "tls.key is not the key of tls.crt"
	default:
		return strings.TrimPrefix(said, "tls: ")
	}
}

// get implements tls.Config.GetCertificate.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if cert := c.current.Load(); cert != nil {
		return cert, nil
	}
	return nil, errNoCertificate
}

func (c *certificates) expires() time.Time {
	cert := c.current.Load()
	if cert == nil || cert.Leaf == nil {
		return time.Time{}
	}
	return cert.Leaf.NotAfter
}

// ready returns an error if no client could connect.
func (c *certificates) ready() error {
	if c.current.Load() == nil {
		return errNoCertificate
	}
	if time.Now().After(c.expires()) {
		return errors.New("the certificate has expired")
	}
	return nil
}

// watch reads the certificate, and reads it again whenever it changes, until ctx ends.
func (c *certificates) watch(ctx context.Context) error {
	c.reload(ctx)
	poll(ctx, c.reload)
	return nil
}

// reload refreshes the certificate, and reports what is wrong with its files.
func (c *certificates) reload(ctx context.Context) {
	if err := c.refresh(ctx); err != nil {
		c.report(ctx, err.Error())
		return
	}
	c.lastProblem, c.reported = "", ""
}

// refresh uses the certificate in the files, if it has changed. A certificate that
// cannot be used changes nothing.
func (c *certificates) refresh(ctx context.Context) error {
	cert, key, err := c.read()
	if err != nil {
		return err
	}
	if bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	c.cert, c.key = cert, key
	c.metrics.certificate.Store(pair.Leaf)
	if c.current.Swap(&pair) == nil {
		close(c.loaded)
	}
	c.log.InfoContext(ctx, "the certificate is in use from now on", "folder", c.dir, "expires", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	return nil
}

// report logs a problem once. If a changed certificate cannot be used, it is logged
// only at the second check in a row. The kubelet may exchange the files between the
// reading of one and the other.
func (c *certificates) report(ctx context.Context, problem string) {
	again := problem == c.lastProblem
	c.lastProblem = problem
	switch {
	case problem == c.reported:
		return
	case c.current.Load() == nil:
		c.log.InfoContext(ctx, "waiting for a certificate", "folder", c.dir, "error", problem)
	case again:
		c.log.ErrorContext(ctx, "the certificate has changed and cannot be used: the one before stays in use", "folder", c.dir, "error", problem)
	default:
		return
	}
	c.reported = problem
}
