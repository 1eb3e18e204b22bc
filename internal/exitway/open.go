// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// openTimeout bounds the opening of a tunnel: the dial of the exit, TLS, and the first
// exchange with the exit.
const openTimeout = 10 * time.Second

// maker opens tunnels.
type maker struct {
	names      tunnel.SettingNames
	tls        tunnel.TLS
	outer      Outer
	files      *tlsfiles.Files
	held       *quota.Quota    // may be nil
	room       func()          // called when an exit allows more streams
	background *sync.WaitGroup // counts the reading goroutines of tunnels
}

// open opens a tunnel to the exit at target. draining is called once, when the tunnel takes
// no more streams, and ended once, when it has ended. An error says what a person can do.
func (m *maker) open(ctx context.Context, target tunnel.HostPort, draining, ended func(*exitTunnel)) (*exitTunnel, *tunnel.Error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	t := &exitTunnel{target: target, version: m.files.Version(), drains: make(chan struct{}), over: make(chan struct{})}
	outer, err := m.outer.DialTarget(ctx, target, nil)
	if err != nil {
		return nil, m.notDialled(target, err)
	}
	t.server, t.ids = outer.Server(), tunnel.IDsOf(outer)
	below := newBelow(outer)
	secured, err := m.secure(ctx, below, target)
	if err != nil {
		_ = outer.Close()
		return nil, m.notSecured(ctx, t, err)
	}
	t.certificates = secured.ConnectionState().PeerCertificates
	t.session = newSession(secured, below.gather(), m.held, func() { draining(t) }, m.room)
	t.opened = time.Now()
	m.background.Go(func() {
		t.session.Run()
		close(t.over)
		ended(t)
	})
	if err := t.session.Ready(ctx); err != nil {
		_ = t.session.Close()
		<-t.over
		return nil, m.notReady(ctx, t, err)
	}
	return t, nil
}

// secure does the TLS handshake with the exit at target on outer.
func (m *maker) secure(ctx context.Context, outer net.Conn, target tunnel.HostPort) (*tls.Conn, error) {
	cfg, err := m.files.Config()
	if err != nil {
		return nil, fileError{err}
	}
	cfg.MinVersion = tls.VersionTLS13
	cfg.NextProtos = []string{serverconn.ALPNHTTP2}
	// A resumed session would keep the rights of a certificate that was replaced.
	cfg.ClientSessionCache = nil
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(string(target))
	}
	conn := tls.Client(outer, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if alpn := conn.ConnectionState().NegotiatedProtocol; alpn != serverconn.ALPNHTTP2 {
		return nil, errNoHTTP2
	}
	return conn, nil
}

// fileError is the error of TLS files that cannot be used.
type fileError struct{ error }

// Unwrap returns the cause.
func (e fileError) Unwrap() error { return e.error }

var errNoHTTP2 = errors.New("it does not choose HTTP/2 by ALPN")

// notDialled returns the error of an exit to which the outer dialer made no connection. If
// the cause lies before the exit, its reason stays.
func (m *maker) notDialled(target tunnel.HostPort, err error) *tunnel.Error {
	failed, ok := errors.AsType[*tunnel.Error](err)
	if !ok {
		failed = &tunnel.Error{Reason: tunnel.ReasonOther, Err: err}
	}
	is := *failed
	is.Err = fmt.Errorf("no connection to the exit %s: %w", target, failed.Err)
	if failed.Fault != tunnel.FaultTarget || failed.Reason == tunnel.ReasonCancelled || failed.Reason == tunnel.ReasonProtocol {
		return &is
	}
	is.Reason, is.Fault = tunnel.ReasonExitUnreachable, tunnel.FaultServer
	switch failed.Reason {
	case tunnel.ReasonRefused:
		is.Next = fmt.Sprintf("see whether the exit runs, and whether %s=%s is its address as the agent dials it", m.names.Exit, target)
	default:
		is.Next = fmt.Sprintf("see whether the agent can reach %s=%s: the address or name, its resolution by the agent, and the NetworkPolicies of the shoot", m.names.Exit, target)
	}
	return &is
}

// misfits returns the error of an exit that cannot be used until a person changes something.
func (t *exitTunnel) misfits(next, format string, args ...any) *tunnel.Error {
	err := t.failed(next, format, args...)
	err.Fault = tunnel.FaultRefusal
	return err
}

// failed returns the error of an exit to which there is a connection.
func (t *exitTunnel) failed(next, format string, args ...any) *tunnel.Error {
	return &tunnel.Error{
		Reason: tunnel.ReasonExitUnreachable, Server: t.server, IDs: t.ids, Fault: tunnel.FaultServer,
		Err: fmt.Errorf("exit %s: %w", t.target, fmt.Errorf(format, args...)), Next: next,
	}
}

// notSecured returns the error of a TLS handshake that ended with err.
func (m *maker) notSecured(ctx context.Context, t *exitTunnel, err error) *tunnel.Error {
	names := m.names
	unknown, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, alerted := serverconn.RemoteAlert(err)
	switch {
	case errors.As(err, new(fileError)):
		return t.misfits("correct the file, or the Secret that it is from", "no TLS: %w", err)
	case errors.As(err, new(x509.HostnameError)):
		return m.anotherName(t, err)
	case isUnknown:
		return t.misfits(fmt.Sprintf("put the CA that has signed the exit's certificate into %s=%s", names.ExitCACert, m.tls.CAFile),
			"%w", serverconn.Worded(fmt.Sprintf("its certificate is not signed by %s=%s, but by %q", names.ExitCACert, m.tls.CAFile, clip.Text(unknown.Cert.Issuer.String(), clip.Words)), err))
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return t.misfits("renew the exit's certificate, or set the wrong clock right", "its certificate was not accepted: %w", serverconn.Brief(err))
	case errors.Is(err, errNoHTTP2):
		return t.misfits(m.notAnExit(t.target), "%w", err)
	case alerted:
		return m.alerted(t, err)
	case errors.As(err, new(tls.RecordHeaderError)):
		return t.misfits(m.notAnExit(t.target), "it does not speak TLS: %w", err)
	case ctx.Err() != nil:
		return t.failed("see whether the exit hangs or is overloaded: its log, its CPU", "no answer to the TLS handshake: %w", context.Cause(ctx))
	default:
		return t.failed("see whether the exit runs: its log has the cause", "TLS handshake: %w", err)
	}
}

// anotherName returns the error of an exit whose certificate is not for the name that is
// verified. err says for which names it is.
func (m *maker) anotherName(t *exitTunnel, err error) *tunnel.Error {
	verified := fmt.Sprintf("%s=%s", m.names.ExitServerName, m.tls.ServerName)
	next := "write a name in the exit's certificate in place of " + verified
	if m.tls.ServerName == "" {
		verified = fmt.Sprintf("the host of %s=%s", m.names.Exit, t.target)
		next = fmt.Sprintf("give a name in the exit's certificate as %s: without it %s is verified", m.names.ExitServerName, verified)
	}
	wrong, _ := errors.AsType[x509.HostnameError](err)
	names := slices.Clone(wrong.Certificate.DNSNames)
	for _, ip := range wrong.Certificate.IPAddresses {
		names = append(names, ip.String())
	}
	is := "but for " + clip.Text(strings.Join(names, ", "), clip.Words)
	if len(names) == 0 {
		is = "and has no name in it"
		next = "issue the exit's certificate again, with a name in it (subjectAltName), since a common name does not count"
	}
	return t.misfits(next, "%w", serverconn.Worded(fmt.Sprintf("its certificate is not for %s, %s", verified, is), err))
}

// What crypto/tls says of the alerts (RFC 8446, section 6.2) that are no doubt about who has
// signed the client's certificate.
const (
	alertVersion  = "protocol version not supported"
	alertProtocol = "no application protocol"
	alertExpired  = "expired certificate"
)

// alerted returns the error of an exit that answered with a TLS alert.
func (m *maker) alerted(t *exitTunnel, err error) *tunnel.Error {
	alert, _ := serverconn.RemoteAlert(err)
	certificate := m.names.ExitClientCert + "=" + m.tls.CertFile
	switch {
	case strings.Contains(alert, alertVersion):
		return t.misfits(m.notAnExit(t.target), "it does not speak TLS 1.3: %w", err)
	case strings.Contains(alert, alertProtocol):
		return t.misfits(m.notAnExit(t.target), "it does not speak HTTP/2: %w", err)
	case strings.Contains(alert, alertExpired):
		if invalid := m.files.CheckClient(time.Now()); invalid != nil {
			return t.misfits("renew "+certificate+" in its Secret", "it refused the client certificate: %w (%w)", invalid, err)
		}
		return t.misfits("compare the clocks of this node and of the exit's, and set the wrong one right",
			"it refused the TLS connection: %w; by the clock here %s has not expired", err, certificate)
	default:
		return t.misfits("put a certificate that is signed by the CA that the exit has for clients into "+certificate,
			"it refused the TLS connection: %w; most likely no CA that it has for clients has signed %s", err, certificate)
	}
}

// notReady returns the error of an exit that ended the first exchange with err. With TLS
// 1.3 a client certificate is refused only here.
func (m *maker) notReady(ctx context.Context, t *exitTunnel, err error) *tunnel.Error {
	if _, ok := serverconn.RemoteAlert(err); ok {
		return m.alerted(t, err)
	}
	if ctx.Err() != nil {
		return t.failed("see whether the exit hangs or is overloaded: its log, its CPU", "no HTTP/2 answer: %w", context.Cause(ctx))
	}
	return t.failed("see the exit's log", "no HTTP/2 answer: %w", err)
}

func (m *maker) notAnExit(target tunnel.HostPort) string {
	return fmt.Sprintf("see whether %s=%s is the address and port of an exit: proxy-exit, or another proxy that speaks HTTP/2 CONNECT", m.names.Exit, target)
}
