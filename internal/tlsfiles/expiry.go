// SPDX-License-Identifier: Apache-2.0

package tlsfiles

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"
)

const (
	// expiryInterval is how often the files are looked at where no handshake
	// asks for them.
	expiryInterval = time.Minute
	// soonest and soonPart say what soon is: a week, or for certificates that
	// live for less than four, the last quarter of their life.
	soonest  = 7 * 24 * time.Hour
	soonPart = 4
	// remindAfter is how often the same is said again.
	remindAfter = 24 * time.Hour
)

// Watch keeps the files and what is known of their expiry current until ctx
// ends, whether anybody dials or not.
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
	_ = f.refresh(now) // what is wrong is said where a handshake needs them
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

// next is the certificate that will be the first to make a difference: of a
// client's chain the one that expires first, of a bundle the one among those
// that are still valid.
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

// expiry is how far a certificate's life has gone.
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
	case left < min(soonest, cert.NotAfter.Sub(cert.NotBefore)/soonPart):
		return expiresSoon
	default:
		return farOff
	}
}

// reminder says the same once a day, and something new at once.
type reminder struct {
	said   expiry
	of     time.Time // NotAfter of the certificate
	saidAt time.Time
}

func (r *reminder) remind(ctx context.Context, log *slog.Logger, now time.Time, cert *x509.Certificate, file string, words [3]string) {
	state := expiryAt(now, cert)
	if state == farOff || state == r.said && cert.NotAfter.Equal(r.of) && now.Sub(r.saidAt) < remindAfter {
		return
	}
	r.said, r.of, r.saidAt = state, cert.NotAfter, now
	level := slog.LevelWarn
	if state == expired {
		level = slog.LevelError
	}
	log.Log(ctx, level, words[state], "file", file, "subject", cert.Subject.String(), "expires", cert.NotAfter.UTC().Format(time.RFC3339))
}
