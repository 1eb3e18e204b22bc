// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// certificateInterval is how often it is tried again to read a certificate that is
// not there yet.
const certificateInterval = time.Second

// errNoCertificate is said until there is one.
var errNoCertificate = errors.New("no certificate yet")

// certificates is the serving certificate, which others replace while we run.
type certificates struct {
	dir     string
	metrics *Metrics
	log     *slog.Logger
	loaded  chan struct{} // closed when there is one
	watcher atomic.Pointer[certwatcher.CertWatcher]
}

func newCertificates(dir string, metrics *Metrics, log *slog.Logger) *certificates {
	return &certificates{dir: dir, metrics: metrics, log: log, loaded: make(chan struct{})}
}

// The files are named as in a Secret of type kubernetes.io/tls.
func (c *certificates) files() (cert, key string) {
	return filepath.Join(c.dir, "tls.crt"), filepath.Join(c.dir, "tls.key")
}

// check refuses a folder without a certificate, where nobody will put one there.
func (c *certificates) check() error {
	if _, err := tls.LoadX509KeyPair(c.files()); err != nil {
		return &options.UsageError{
			Flag: "--cert-dir", Value: c.dir, Err: err,
			Problem: fmt.Sprintf("has no certificate that can be used (%v): mount a Secret with tls.crt and tls.key there, or set --manage-certificates", err),
		}
	}
	return nil
}

// get implements tls.Config.GetCertificate.
func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	watcher := c.watcher.Load()
	if watcher == nil {
		return nil, errNoCertificate
	}
	return watcher.GetCertificate(hello)
}

func (c *certificates) expires() time.Time {
	cert, err := c.get(nil)
	if err != nil || cert.Leaf == nil {
		return time.Time{}
	}
	return cert.Leaf.NotAfter
}

// ready says why nobody could speak with us.
func (c *certificates) ready() error {
	if c.watcher.Load() == nil {
		return errNoCertificate
	}
	if time.Now().After(c.expires()) {
		return errors.New("the certificate has expired")
	}
	return nil
}

// watch reads the certificate, and again whenever it changes, until ctx ends.
func (c *certificates) watch(ctx context.Context) error {
	if err := c.await(ctx); err != nil {
		return nil // it was not to be
	}
	for {
		err := c.watcher.Load().Start(ctx)
		if ctx.Err() != nil {
			return nil
		}
		c.log.ErrorContext(ctx, "cannot watch the certificate; trying again", "folder", c.dir, "error", err)
		pause(ctx, certificateInterval)
	}
}

// await returns when there is a certificate, or ctx has ended.
func (c *certificates) await(ctx context.Context) error {
	reported := ""
	for {
		watcher, err := certwatcher.New(c.files())
		if err == nil {
			c.watcher.Store(watcher)
			expires := c.expires
			c.metrics.expires.Store(&expires)
			close(c.loaded)
			return nil
		}
		if err.Error() != reported {
			reported = err.Error()
			c.log.InfoContext(ctx, "waiting for a certificate", "folder", c.dir, "error", reported)
		}
		if pause(ctx, certificateInterval); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
