// SPDX-License-Identifier: Apache-2.0

package check

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
)

func describeAll(chain []*x509.Certificate) []report.Certificate {
	const most = 4
	var all []report.Certificate
	for _, c := range chain[:min(len(chain), most)] {
		all = append(all, report.Certificate{
			Subject: c.Subject.String(), Issuer: c.Issuer.String(), Names: namesOf(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		})
	}
	return all
}

// namesOf returns the names and addresses for which a certificate is.
func namesOf(c *x509.Certificate) []string {
	const most = 20
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names[:min(len(names), most)]
}

// validity is how a certificate stands at a time.
type validity int

const (
	valid validity = iota
	expiresSoon
	expired
	notYetValid
)

func validityAt(c *x509.Certificate, now time.Time) validity {
	switch {
	case now.After(c.NotAfter):
		return expired
	case now.Before(c.NotBefore):
		return notYetValid
	case tlsfiles.Due(c, now):
		return expiresSoon
	default:
		return valid
	}
}

func (v validity) cause() report.Cause {
	switch v {
	case expired:
		return report.CauseExpired
	case notYetValid:
		return report.CauseNotYetValid
	case expiresSoon:
		return report.CauseExpires
	default:
		return ""
	}
}

// dates says until when c is valid, or since when it is not.
func dates(c *x509.Certificate, now time.Time) string {
	end := c.NotAfter.UTC().Format(time.DateOnly)
	switch validityAt(c, now) {
	case expired:
		return fmt.Sprintf("expired on %s, %s ago", c.NotAfter.UTC().Format(time.RFC3339), span(now.Sub(c.NotAfter)))
	case notYetValid:
		return fmt.Sprintf("is not valid before %s, in %s", c.NotBefore.UTC().Format(time.RFC3339), span(c.NotBefore.Sub(now)))
	default:
		return fmt.Sprintf("expires on %s, in %s", end, span(c.NotAfter.Sub(now)))
	}
}

// span returns a long duration in its largest unit.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	in := func(unit time.Duration, name string) string {
		n := int64(d.Round(unit) / unit)
		if n == 1 {
			return "1 " + name
		}
		return fmt.Sprintf("%d %ss", n, name)
	}
	switch {
	case d >= 2*day-time.Hour:
		return in(day, "day")
	case d >= 2*time.Hour-time.Minute:
		return in(time.Hour, "hour")
	case d >= 2*time.Minute:
		return in(time.Minute, "minute")
	default:
		return in(time.Second, "second")
	}
}

// title returns the subject of a certificate, or its first name if it has no subject.
func title(c *x509.Certificate) string {
	name := c.Subject.String()
	if name == "" {
		name = strings.Join(namesOf(c), ", ")
	}
	return fmt.Sprintf("%q", clip.Text(name, clip.Words))
}
