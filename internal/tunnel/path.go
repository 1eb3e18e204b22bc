// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/options"
)

const (
	// addressTimeout bounds the connection to one address of a server that has
	// several, so that one dead address leaves time for the next.
	addressTimeout = 2 * time.Second
	// userTimeout is TCP_USER_TIMEOUT towards a server (tcp(7)): how long what
	// was sent may stay unacknowledged. The server allows no HTTP/2 pings by
	// which a dead one could be noticed: it ends connections that send them.
	userTimeout = 10 * time.Second
)

// keepalive notices a dead server on which nothing is being sent, after about
// 20 s.
var keepalive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 2}

// InsideShootError refuses a proxy-server whose address is one of the shoot's:
// the connection to it would have to pass through itself.
type InsideShootError struct {
	Server  string     // as configured
	Address netip.Addr // what it resolves to
	CIDR    cidr.Entry // the shoot CIDR that contains it
}

// Error names the server, its address and the flag that is in the way.
func (e *InsideShootError) Error() string {
	return fmt.Sprintf("--proxy-server %q: its address %s lies inside the shoot's %s %s; correct the CIDR, or exclude the server's address with --exclude-cidr",
		e.Server, e.Address, e.CIDR.Flag, e.CIDR.Prefix)
}

// path is the way to one configured server: resolution, TCP or Unix socket, TLS.
type path struct {
	server options.Server
	cidrs  *cidr.Set
	certs  *certificates
	known  atomic.Pointer[[]netip.AddrPort] // addresses of the last resolution
}

// connect opens a connection to the server, with a finished TLS handshake where
// it is reached over TCP. It returns the protocol that ALPN chose, empty where
// none was.
func (p *path) connect(ctx context.Context, protos ...string) (net.Conn, string, *Error) {
	if p.server.Network == "unix" {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", p.server.Address)
		if err != nil {
			return nil, "", p.unreachable(ctx, err)
		}
		return conn, "", nil
	}
	raw, err := p.connectTCP(ctx)
	if err != nil {
		return nil, "", p.unreachable(ctx, err)
	}
	cfg, err := p.certs.config()
	if err != nil {
		_ = raw.Close()
		return nil, "", &Error{Reason: ReasonTLS, Server: p.server.Name, Err: err, elsewhere: true}
	}
	cfg.NextProtos = append(protos, cfg.NextProtos...)
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(p.server.Address)
	}
	conn := tls.Client(fullStop{raw}, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, "", p.handshakeError(ctx, cfg.ServerName, err)
	}
	return conn, conn.ConnectionState().NegotiatedProtocol, nil
}

// connectTCP tries the server's addresses in turn.
func (p *path) connectTCP(ctx context.Context) (net.Conn, error) {
	addrs, err := p.resolve(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for i, a := range addrs {
		dialer := net.Dialer{KeepAliveConfig: keepalive, Control: setUserTimeout}
		if i < len(addrs)-1 {
			dialer.Timeout = addressTimeout
		}
		conn, err := dialer.DialContext(ctx, "tcp", a.String())
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func setUserTimeout(_, _ string, c syscall.RawConn) error {
	var serr error
	err := c.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
	return errors.Join(err, serr)
}

// resolve returns the server's addresses, or an *InsideShootError where one of
// them is the shoot's.
func (p *path) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	if p.server.Network == "unix" {
		return nil, nil
	}
	host, service, err := net.SplitHostPort(p.server.Address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		ip = ip.Unmap()
		if entry, inside := p.cidrs.Covering(ip); inside {
			return nil, &InsideShootError{Server: p.server.Name, Address: ip, CIDR: entry}
		}
		addrs = append(addrs, netip.AddrPortFrom(ip, uint16(port)))
	}
	p.known.Store(&addrs)
	return addrs, nil
}

// owns reports whether a is one of the server's addresses.
func (p *path) owns(a netip.AddrPort) bool {
	known := p.known.Load()
	if known == nil {
		return false
	}
	for _, k := range *known {
		if k == a {
			return true
		}
	}
	return false
}

// unreachable is the error of a server that could not be connected to.
func (p *path) unreachable(ctx context.Context, err error) *Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &Error{Reason: ReasonCancelled, Server: p.server.Name, Err: err}
	}
	return &Error{Reason: ReasonServerUnreachable, Server: p.server.Name, Err: err, elsewhere: true}
}

// handshakeError tells a refused certificate from a broken connection, and adds
// what to do about it.
func (p *path) handshakeError(ctx context.Context, name string, err error) *Error {
	e := &Error{Reason: ReasonTLS, Server: p.server.Name, elsewhere: true}
	alert, alerted := remoteAlert(err)
	switch {
	case ctx.Err() != nil:
		return p.unreachable(ctx, fmt.Errorf("TLS handshake: %w", err))
	case errors.As(err, new(x509.HostnameError)):
		e.Err = fmt.Errorf("its certificate is not for %q: %w; set --server-name to a name in it", name, err)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		e.Err = fmt.Errorf("its certificate is not signed by --ca-cert: %w", err)
	case errors.As(err, new(*tls.CertificateVerificationError)):
		e.Err = fmt.Errorf("its certificate was not accepted: %w", err)
	case alerted && strings.Contains(alert, noApplicationProtocol):
		e.Err = fmt.Errorf("it does not speak the protocol that --mode %s needs: %w; use --mode auto", p.server.Mode, err)
	case alerted:
		return p.alerted(err)
	case errors.As(err, new(tls.RecordHeaderError)):
		e.Err = fmt.Errorf("it does not speak TLS: %w", err)
	default:
		return p.unreachable(ctx, fmt.Errorf("TLS handshake: %w", err))
	}
	return e
}

// noApplicationProtocol is how crypto/tls words the alert of a server that
// supports none of the offered ALPN protocols (RFC 7301, section 3.2).
const noApplicationProtocol = "no application protocol"

// alerted is the error of a server that answered with a TLS alert. With TLS 1.3
// a client certificate is refused only after the client's handshake.
func (p *path) alerted(err error) *Error {
	return &Error{
		Reason: ReasonTLS, Server: p.server.Name, elsewhere: true,
		Err: fmt.Errorf("it refused the TLS connection: %w; is --client-cert signed by the CA that it trusts?", err),
	}
}

// remoteAlert returns the words of a TLS alert from the peer, which crypto/tls
// exports no type for.
func remoteAlert(err error) (string, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return "", false
	}
	return op.Err.Error(), true
}

// errFullStop is what a TCP connection under TLS ends with where TLS did not
// end first.
var errFullStop = errors.New("connection ended without TLS close_notify")

// fullStop keeps a TCP FIN apart from the end of a TLS stream. crypto/tls
// reports both as io.EOF, but only close_notify is the server's word that the
// stream is complete; a bare FIN is what a killed server leaves behind.
type fullStop struct{ net.Conn }

// Read is Conn.Read, with another error for io.EOF.
func (c fullStop) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = errFullStop
	}
	return n, err
}
