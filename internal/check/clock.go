// SPDX-License-Identifier: Apache-2.0

package check

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
)

const (
	// tolerated is how far this node's clock may be from a server's without a warning.
	tolerated = 5 * time.Minute
	// sameClock is within what a header with whole seconds and the network may differ.
	sameClock = time.Minute
)

// clockEvidence is what can tell that this node's clock is wrong.
type clockEvidence struct {
	now   time.Time
	certs map[string][]*x509.Certificate // by role
	skew  time.Duration                  // of a server's clock, if dated
	dated bool
	from  string // the server
}

// clock compares this node's clock with the certificates and with the servers' clocks.
func (c *checker) clock(files tlsFiles, paths []*path) (report.Step, bool) {
	e := clockEvidence{now: c.now(), certs: map[string][]*x509.Certificate{}}
	add := func(role string, chain []*x509.Certificate) {
		if len(chain) > 0 {
			e.certs[role] = append(e.certs[role], chain...)
		}
	}
	add("CA", files.ca)
	add("client", files.client)
	for _, p := range paths {
		if len(p.chain) > 0 {
			add("server", p.chain[:1])
		}
		if h := p.knownHints(); h.Dated && !e.dated {
			e.dated, e.skew, e.from = true, h.Skew, p.address()
		}
	}
	if len(e.certs) == 0 && !e.dated {
		return report.Step{}, false
	}
	return e.judge(), true
}

// judge returns the step.
func (e clockEvidence) judge() report.Step {
	step := report.Step{Name: report.StepClock, Result: report.OK}
	now := e.now.UTC().Format(time.RFC3339)
	const set = "set this node's clock right (NTP), or move the pod to another node"
	if e.dated {
		step.Server = e.from
		direction, by := "behind", e.skew
		if by < 0 {
			direction, by = "ahead of", -by
		}
		compared := fmt.Sprintf("this node's clock says %s, which is %s %s the server's", now, span(by), direction)
		switch {
		case by > sameClock && e.changesValidity():
			step.Result, step.Cause = report.Failure, report.CauseClock
			step.Found, step.Next = compared+", so certificates count as invalid that are valid", set
		case by > tolerated:
			step.Result, step.Cause, step.Found, step.Next = report.Warning, report.CauseClock, compared, set
		default:
			step.Found = "this node's clock agrees with the server's"
		}
		return step
	}
	notYet, over, all := 0, 0, 0
	var latest time.Time
	for _, chain := range e.certs {
		for _, cert := range chain {
			all++
			switch validityAt(cert, e.now) {
			case notYetValid:
				notYet++
				if cert.NotBefore.After(latest) {
					latest = cert.NotBefore
				}
			case expired:
				over++
			}
		}
	}
	const roles = 2 // of certificates that have to agree
	switch {
	case len(e.certs) >= roles && notYet == all:
		step.Result, step.Cause = report.Failure, report.CauseClock
		step.Found = fmt.Sprintf("this node's clock says %s, and none of the certificates (%s) is valid yet: the clock is most likely slow, by %s at least", now, e.roles(), span(latest.Sub(e.now)))
		step.Next = set
	case len(e.certs) >= roles && over == all:
		step.Result, step.Cause = report.Failure, report.CauseClock
		step.Found = fmt.Sprintf("this node's clock says %s, and all certificates (%s) have expired: the clock is fast, or all of them were not renewed", now, e.roles())
		step.Next = set + ". If it is right, renew the certificates"
	default:
		step.Found = fmt.Sprintf("this node's clock says %s. No certificate suggests that it is wrong", now)
	}
	return step
}

// changesValidity reports whether a certificate that is not valid by this node's clock is
// valid by the server's.
func (e clockEvidence) changesValidity() bool {
	usable := func(c *x509.Certificate, at time.Time) bool {
		v := validityAt(c, at)
		return v == valid || v == expiresSoon
	}
	for _, chain := range e.certs {
		for _, cert := range chain {
			if !usable(cert, e.now) && usable(cert, e.now.Add(e.skew)) {
				return true
			}
		}
	}
	return false
}

// roles names the roles of the certificates.
func (e clockEvidence) roles() string {
	text := ""
	for _, role := range []string{"CA", "client", "server"} {
		if len(e.certs[role]) > 0 {
			if text != "" {
				text += ", "
			}
			text += role
		}
	}
	return clip.Text(text, clip.Words)
}

// excuse skips the steps that failed because the clock is wrong.
func excuse(steps []report.Step) {
	for i := range steps {
		s := &steps[i]
		dated := s.Cause == report.CauseExpired || s.Cause == report.CauseNotYetValid || s.Cause == report.CauseExpires
		if dated && (s.Name == report.StepFiles || s.Name == report.StepTLS) {
			s.Result, s.Cause, s.Next = report.Skipped, "", ""
			s.Found += ", by a clock that is wrong: see step " + report.StepClock
		}
	}
}
