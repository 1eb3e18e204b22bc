// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"
)

const (
	// expiryInterval is the time between two checks of the files while no handshake
	// reads them.
	expiryInterval = time.Minute
	// warnBefore is how long before its end a certificate is warned of. One that is valid
	// for less than four weeks is warned of in the last quarter of that time.
	warnBefore = 7 * 24 * time.Hour
	warnPart   = 4
	// remindAfter is the time until the same warning is logged again.
	remindAfter = 24 * time.Hour
	// dueBefore is how long before its end a certificate is due, at most. One with a shorter
	// life, such as 90 days, is usually replaced after two thirds of it.
	dueBefore = 60 * 24 * time.Hour
	duePart   = 3
)

// Due reports whether a certificate should have been replaced by now, so that a check warns of
// it. The log warns later: if it does not, a person has to act now.
func Due(c *x509.Certificate, now time.Time) bool {
	return c.NotAfter.Sub(now) < min(dueBefore, c.NotAfter.Sub(c.NotBefore)/duePart)
}

// Watch reads the files after each change, and warns of their expiry, until ctx ends. It
// does so even if there are no dials.
func (f *Files) Watch(ctx context.Context) error {
	for ctx.Err() == nil {
		f.remind(ctx, time.Now())
		select {
		case <-ctx.Done():
		case <-time.After(expiryInterval):
		}
	}
	return nil
}

// remind warns of certificates in use that expire soon or have expired.
func (f *Files) remind(ctx context.Context, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.refresh(now) // Config returns the error to a handshake
	f.tellInUse(now)   // a CA of the bundle may have expired since
	if p := f.client.current; p != nil {
		f.clientExpiry.remind(ctx, f.log, now, p.next(now), f.files.CertFile, [...]string{
			expiresSoon: "the client certificate expires soon: renew it",
			expired:     "the client certificate has expired, and servers refuse it: renew it",
		})
	}
	if p := f.roots.current; p != nil {
		f.rootsExpiry.remind(ctx, f.log, now, p.next(now), f.files.CAFile, [...]string{
			expiresSoon: "a CA certificate expires soon, and from then on the servers that it has signed are not accepted: renew it",
			expired:     "the CA certificates have expired, and no server is accepted: renew them",
		})
	}
}

// next returns the certificate whose end will be the first to matter. Of a client's chain
// it is the one that expires first. Of a bundle it is the first to expire among those
// that are valid at now.
func (p *parsed) next(now time.Time) *x509.Certificate {
	var first, firstValid *x509.Certificate
	for _, cert := range p.chain {
		if first == nil || cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
		if !now.After(cert.NotAfter) && (firstValid == nil || cert.NotAfter.Before(firstValid.NotAfter)) {
			firstValid = cert
		}
	}
	if p.roots != nil && firstValid != nil {
		return firstValid
	}
	return first
}

// expiry says how close a certificate is to its end.
type expiry int

const (
	farOff expiry = iota
	expiresSoon
	expired
)

func expiryAt(now time.Time, cert *x509.Certificate) expiry {
	left := cert.NotAfter.Sub(now)
	switch {
	case left < 0:
		return expired
	case left < min(warnBefore, cert.NotAfter.Sub(cert.NotBefore)/warnPart):
		return expiresSoon
	default:
		return farOff
	}
}

// reminder logs a warning at once when it is new, and once a day as long as it stays the
// same.
type reminder struct {
	logged   expiry
	notAfter time.Time // of the certificate
	loggedAt time.Time
}

func (r *reminder) remind(ctx context.Context, log *slog.Logger, now time.Time, cert *x509.Certificate, file string, words [3]string) {
	state := expiryAt(now, cert)
	if state == farOff || state == r.logged && cert.NotAfter.Equal(r.notAfter) && now.Sub(r.loggedAt) < remindAfter {
		return
	}
	r.logged, r.notAfter, r.loggedAt = state, cert.NotAfter, now
	level := slog.LevelWarn
	if state == expired {
		level = slog.LevelError
	}
	log.Log(ctx, level, words[state], "file", file, "subject", cert.Subject.String(), "expires", cert.NotAfter.UTC().Format(time.RFC3339))
}
