// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/cure"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// maxNames is how many names of a certificate a status has.
const maxNames = 8

// Servers returns the configured servers and what is known of them.
func (d *Dialer) Servers() []status.Server {
	now := time.Now()
	all := make([]status.Server, 0, len(d.servers))
	for _, s := range d.servers {
		all = append(all, s.status(now))
	}
	return all
}

// status returns what is known of s at now.
func (s *server) status(now time.Time) status.Server {
	is := status.Server{
		Name: s.Name, Network: s.Network, Address: s.Address, Mode: string(s.Mode), Speaks: string(s.speaks()),
		Up: s.isUp(), Endpoints: []status.Endpoint{},
	}
	if s.speaks() == tunnel.ModeAuto {
		is.Speaks = ""
	}
	for _, e := range s.known() {
		is.Endpoints = append(is.Endpoints, e.status(now))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !is.Up && s.cause != nil {
		is.Reason, is.Cause, is.Next = string(s.cause.Reason), clip.Text(clip.Printable(s.cause.Err.Error()), clip.Sentence), next(s.cause)
	}
	return is
}

// status returns what is known of e at now.
func (e *endpoint) status(now time.Time) status.Endpoint {
	states := [...]string{
		rankGood: status.EndpointGood, rankSuspect: status.EndpointSuspect,
		rankAside: status.EndpointAside, rankUnreachable: status.EndpointUnreachable,
	}
	is := status.Endpoint{
		Address: e.Address(), State: states[e.candidate(now).rank], Up: e.up.Load(), Load: int(e.load.Load()),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	is.DialSeconds, is.Answered, is.UpSince = e.dialSeconds, e.answered, e.upSince
	is.Failures = e.aside.failures
	if is.Failures > 0 {
		is.Until = e.aside.until
	}
	failed := is.State == status.EndpointAside || is.State == status.EndpointUnreachable || !is.Up
	if last := e.lastFailure; last != nil && failed {
		is.Reason, is.Error, is.Next = string(last.Reason), clip.Text(clip.Printable(last.Err.Error()), clip.Sentence), next(last)
	}
	return is
}

// next returns what to do about a failure of a server or an endpoint.
func next(err *tunnel.Error) string {
	switch {
	case err.Next != "":
		return err.Next
	case err.Reason == tunnel.ReasonTimeout: // otherwise the fault would be the target's
		return cure.Silent
	default:
		return cure.NotMade(string(err.Reason))
	}
}

// dialWeight is the weight of the newest dial in the moving average of an endpoint.
const dialWeight = 0.2

// noteDial records at the end of a dial how long it took, or why it failed. The caller
// holds e.mu.
func (e *endpoint) noteDial(took time.Duration, judged verdict, err *tunnel.Error) {
	switch {
	case judged == failed:
		e.lastFailure = err
	case err != nil: // about the target, or too early to say
	case e.dialSeconds == 0:
		e.dialSeconds = took.Seconds()
	default:
		e.dialSeconds += dialWeight * (took.Seconds() - e.dialSeconds)
	}
}

// showed records the certificate of a handshake.
func (e *endpoint) showed(state tls.ConnectionState) {
	if len(state.PeerCertificates) > 0 {
		e.certificate.Store(e.describe(state.PeerCertificates[0], ""))
	}
}

// refusedCertificate records the certificate that a handshake has refused with err, if
// that was the reason.
func (e *endpoint) refusedCertificate(err *tunnel.Error) {
	if refused, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(refused.UnverifiedCertificates) > 0 {
		e.certificate.Store(e.describe(refused.UnverifiedCertificates[0], clip.Text(clip.Printable(err.Err.Error()), clip.Sentence)))
	}
}

func (e *endpoint) describe(c *x509.Certificate, problem string) *status.Certificate {
	is := describe(c)
	is.Role, is.Server, is.Address, is.Seen, is.Problem = status.RoleServer, e.server.Name, e.Address(), time.Now(), problem
	return &is
}

// describe returns what is known of a certificate by itself.
func describe(c *x509.Certificate) status.Certificate {
	is := status.Certificate{
		Subject: clip.Text(clip.Printable(c.Subject.String()), clip.Clause), Issuer: clip.Text(clip.Printable(c.Issuer.String()), clip.Clause),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, Names: []string{},
	}
	for _, name := range c.DNSNames[:min(maxNames, len(c.DNSNames))] {
		is.Names = append(is.Names, clip.Text(clip.Printable(name), clip.Words))
	}
	for _, ip := range c.IPAddresses[:min(maxNames, len(c.IPAddresses))] {
		is.Names = append(is.Names, ip.String())
	}
	return is
}

// Describe returns what a status says of a certificate in use at now.
func Describe(in tlsfiles.InUse, now time.Time) status.Certificate {
	is := status.Certificate{Names: []string{}}
	if in.Certificate != nil {
		is = describe(in.Certificate)
		is.Due = tlsfiles.Due(in.Certificate, now)
	}
	is.Role, is.File, is.Problem = string(in.Role), in.File, clip.Printable(in.Problem)
	return is
}

// Certificates returns the certificates of the TLS files, and those that servers have
// shown last.
func (d *Dialer) Certificates() []status.Certificate {
	now, all := time.Now(), []status.Certificate{}
	for _, in := range d.certs.InUse(now) {
		if len(all) == status.MaxCertificates {
			break
		}
		all = append(all, Describe(in, now))
	}
	for _, s := range d.servers {
		for _, e := range s.known() {
			if shown := e.certificate.Load(); shown != nil {
				is := *shown
				is.Due = tlsfiles.Due(&x509.Certificate{NotBefore: is.NotBefore, NotAfter: is.NotAfter}, now)
				if is.Problem == "" {
					is.Problem = tlsfiles.Warning(now, is.NotBefore, is.NotAfter)
				}
				all = append(all, is)
			}
		}
	}
	return all
}
