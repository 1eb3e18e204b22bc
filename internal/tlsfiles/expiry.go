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
	// dueBefore is how long before its end a certificate is due, at most. One with a shorter
	// life, such as 90 days, is usually replaced after two thirds of it.
	dueBefore = 60 * 24 * time.Hour
	duePart   = 3
	// urgentBefore is how long before its end a certificate is urgent, at most. One that is
	// valid for less than four weeks is urgent in the last quarter of that time. The alerts
	// of the chart begin at the same moment.
	urgentBefore = 7 * 24 * time.Hour
	urgentPart   = 4
	// remindAfter is the time until the same warning is logged again.
	remindAfter = 24 * time.Hour
)

// Stage is how close a certificate is to its end.
type Stage int

// The stages.
const (
	// FarFromEnd is the stage in which there is nothing to do.
	FarFromEnd Stage = iota
	// IsDue is the stage in which a certificate should have been replaced. People who look
	// are told: by the checks and the status page.
	IsDue
	// IsUrgent is the stage in which a person has to act. The log warns, and the alerts.
	IsUrgent
	// IsOver is the stage after the end.
	IsOver
)

// StageOf returns the stage of a certificate at now.
func StageOf(c *x509.Certificate, now time.Time) Stage {
	left, life := c.NotAfter.Sub(now), c.NotAfter.Sub(c.NotBefore)
	switch {
	case left < 0:
		return IsOver
	case left < min(urgentBefore, life/urgentPart):
		return IsUrgent
	case left < min(dueBefore, life/duePart):
		return IsDue
	default:
		return FarFromEnd
	}
}

// Due reports whether a certificate should have been replaced by now.
func Due(c *x509.Certificate, now time.Time) bool { return StageOf(c, now) >= IsDue }

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
		f.clientExpiry.remind(ctx, f.log, now, p.next(now), f.files.CertFile, f.side.pairWords)
	}
	if p := f.roots.current; p != nil {
		f.rootsExpiry.remind(ctx, f.log, now, p.next(now), f.files.CAFile, f.side.caWords)
	}
}

func clientSide() side {
	return side{
		role: RoleClient,
		pairWords: [...]string{
			IsUrgent: "the client certificate expires soon: renew it",
			IsOver:   "the client certificate has expired, and servers refuse it: renew it",
		},
		caWords: [...]string{
			IsUrgent: "a CA certificate expires soon, and from then on the servers that it has signed are not accepted: renew it",
			IsOver:   "the CA certificates have expired, and no server is accepted: renew them",
		},
	}
}

func serverSide() side {
	return side{
		role:          RoleServer,
		namelessWords: "the server certificate has no DNS name and no IP address in subjectAltName, and most clients refuse it: have it issued with the name that they verify",
		pairWords: [...]string{
			IsUrgent: "the server certificate expires soon: renew it",
			IsOver:   "the server certificate has expired, and clients refuse it: renew it",
		},
		caWords: [...]string{
			IsUrgent: "a CA certificate expires soon, and from then on the clients that it has signed are not accepted: renew it",
			IsOver:   "the CA certificates have expired, and no client is accepted: renew them",
		},
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

// reminder logs a warning at once when it is new, and once a day as long as it stays the
// same.
type reminder struct {
	logged   Stage
	notAfter time.Time // of the certificate
	loggedAt time.Time
}

func (r *reminder) remind(ctx context.Context, log *slog.Logger, now time.Time, cert *x509.Certificate, file string, words [IsOver + 1]string) {
	state := StageOf(cert, now)
	if state < IsUrgent || state == r.logged && cert.NotAfter.Equal(r.notAfter) && now.Sub(r.loggedAt) < remindAfter {
		return
	}
	r.logged, r.notAfter, r.loggedAt = state, cert.NotAfter, now
	level := slog.LevelWarn
	if state == IsOver {
		level = slog.LevelError
	}
	log.Log(ctx, level, words[state], "file", file, "subject", cert.Subject.String(), "expires", cert.NotAfter.UTC().Format(time.RFC3339))
}
