// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/check/hints"
	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/dialer"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// path is the way through one address of a server.
type path struct {
	c      *checker
	server tunnel.Server  // as configured
	addr   netip.AddrPort // zero for a Unix socket
	host   string         // the name that the server's certificate has to have
	dialer *dialer.Dialer // dials through this address only; nil if the path goes through an exit
	target targetDialer   // dialer, or the tunnel to an exit
	steps  []report.Step

	chain  []*x509.Certificate // of the server; nil if there was no handshake
	hints  chan hints.Hints    // has one element when the server's metrics were asked for
	known  *hints.Hints        // that element
	usable bool                // the server is one for dials
	agent  bool                // an agent, or a standard proxy, answers dials of any address
	// standard means that the server is a standard proxy, which has no agents.
	standard bool
}

// targetDialer dials targets.
type targetDialer interface {
	DialOnce(ctx context.Context, dst tunnel.Target) (tunnel.Conn, *tunnel.Error)
}

// paths finds the addresses of all servers, and walks each path as far as the agent. The
// steps are in the order of the servers.
func (c *checker) paths(ctx context.Context, files tlsFiles) ([]*path, []report.Step) {
	type found struct {
		paths []*path
		steps []report.Step
	}
	all := make([]found, len(c.Servers))
	var work sync.WaitGroup
	for i, s := range c.Servers {
		work.Go(func() {
			all[i].paths, all[i].steps = c.addresses(ctx, s)
			var walks sync.WaitGroup
			for _, p := range all[i].paths {
				walks.Go(func() { p.walk(ctx, files) })
			}
			walks.Wait()
		})
	}
	work.Wait()
	var paths []*path
	var steps []report.Step
	for _, f := range all {
		paths, steps = append(paths, f.paths...), append(steps, f.steps...)
		for _, p := range f.paths {
			steps = append(steps, p.steps...)
		}
	}
	return paths, steps
}

// addresses returns a path for each address of a server.
func (c *checker) addresses(ctx context.Context, s tunnel.Server) ([]*path, []report.Step) {
	if s.Network == tunnel.NetworkUnix {
		return []*path{c.newPath(s, netip.AddrPort{}, "")}, nil
	}
	step := report.Step{Name: report.StepName, Server: s.Name, Result: report.OK}
	host, service, err := net.SplitHostPort(s.Address)
	if err != nil {
		step.Result, step.Cause, step.Found = report.Failure, report.CauseName, err.Error()
		return nil, []report.Step{step}
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	var ips []netip.Addr
	if err == nil {
		ips, err = c.resolver.LookupNetIP(ctx, "ip", host)
	}
	took := time.Since(began)
	step.Seconds = took.Seconds()
	if err != nil {
		return nil, []report.Step{c.unresolved(step, host, took, err)}
	}
	var paths []*path
	var addrs []netip.Addr
	for _, ip := range ips {
		ip = ip.Unmap()
		if entry, inside := c.CIDRs.Covering(ip); inside {
			step.Result, step.Cause = report.Failure, report.CauseInside
			step.Found = fmt.Sprintf("its address %s lies inside the shoot's %s %s, so the sidecar does not connect to it", ip, entry.List, entry.Prefix)
			step.Next = fmt.Sprintf("correct the CIDR in both containers, or exclude the address with %s %s/%d", c.Names.ExcludeCIDR, ip, ip.BitLen())
			return nil, []report.Step{step}
		}
		if !slices.Contains(addrs, ip) {
			addrs = append(addrs, ip)
		}
	}
	for _, ip := range addrs[:min(len(addrs), maxAddresses)] {
		paths = append(paths, c.newPath(s, netip.AddrPortFrom(ip, uint16(port)), host))
	}
	if _, err := netip.ParseAddr(host); err == nil {
		step.Found = "an address, which needs no lookup"
		return paths, []report.Step{step}
	}
	step.Found = fmt.Sprintf("%s, in %s", list(addrs, maxAddresses), report.Seconds(took))
	return paths, []report.Step{step}
}

// newPath returns the path through one address.
func (c *checker) newPath(s tunnel.Server, addr netip.AddrPort, host string) *path {
	p := &path{c: c, server: s, addr: addr, host: host, hints: make(chan hints.Hints, 1)}
	one, files := s, c.TLS
	if addr.IsValid() {
		one.Address = addr.String()
		if files.ServerName == "" {
			files.ServerName = host
		}
		p.host = files.ServerName
	}
	d, err := dialer.New(dialer.Config{
		Servers: []tunnel.Server{one}, TLS: files, Names: c.Names, CIDRs: c.CIDRs, DialTimeout: dialTimeout, Keepalive: c.Keepalive,
		Logger: slog.New(slog.DiscardHandler), Metrics: dialer.NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		panic(err) // only if there is no server
	}
	p.dialer, p.target = d, d
	c.closing(closeDialers, d.Close)
	return p
}

// address returns the address or the path of the socket.
func (p *path) address() string {
	if !p.addr.IsValid() {
		return p.server.Address
	}
	return p.addr.String()
}

// add appends a step of this path.
func (p *path) add(s report.Step) {
	s.Server, s.Address = p.server.Name, p.address()
	p.steps = append(p.steps, s)
}

// walk goes from the connect to the agent. It ends at the first step that fails.
func (p *path) walk(ctx context.Context, files tlsFiles) {
	if !p.connect(ctx) {
		p.hints <- hints.Hints{}
		return
	}
	p.c.work.Go(func() { p.hints <- p.askHints(ctx) })
	if p.server.Network != tunnel.NetworkUnix && !p.handshake(ctx, files) {
		return
	}
	if !p.identify(ctx, files) {
		return
	}
	p.findAgent(ctx)
}

// connect makes a connection without TLS, and closes it at once.
func (p *path) connect(ctx context.Context) bool {
	step := report.Step{Name: report.StepConnect, Result: report.OK}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	network := "tcp"
	if !p.addr.IsValid() {
		network = "unix"
	}
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, network, p.address())
	took := time.Since(began)
	step.Seconds = took.Seconds()
	if err == nil {
		_ = conn.Close()
		step.Found = "connected in " + report.Seconds(took)
		p.add(step)
		return true
	}
	step.Result, step.Cause = report.Failure, report.CauseConnectTimeout
	switch {
	case errors.Is(err, unix.ECONNREFUSED) && network == "unix":
		step.Cause = report.CauseConnectRefused
		step.Found = "the socket is there, but no process listens on it (connection refused)"
		step.Next = "see whether the proxy-server runs"
	case errors.Is(err, unix.ECONNREFUSED):
		step.Cause = report.CauseConnectRefused
		step.Found = "connection refused: nothing listens at this address and port, or a firewall refuses the connection"
		step.Next = fmt.Sprintf("see whether the proxy-server runs (kubectl get pods, and its log), and whether the port is that for its clients: %s", serverconn.ServersPort)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES):
		step.Cause = report.CauseConnectRefused
		step.Found = "the socket cannot be opened: " + clip.Text(err.Error(), clip.Clause)
		step.Next = "mount the socket's folder into the sidecar's container, and let the sidecar's user write to the socket"
	case ctx.Err() != nil, serverconn.TimedOut(err):
		step.Found = "no answer within " + report.Seconds(connectTimeout)
		step.Next = "look at the NetworkPolicies of the pod's and the server's namespaces, and see whether the server's node is up"
	default:
		step.Found = "no connection: " + clip.Text(err.Error(), clip.Clause)
		step.Next = "see whether the pod has a route to this address, and whether the address is right"
	}
	p.add(step)
	return false
}

// handshake does the TLS handshake, and looks at the server's certificate.
func (p *path) handshake(ctx context.Context, files tlsFiles) bool {
	step := report.Step{Name: report.StepTLS, Result: report.OK}
	tlsFiles := p.c.TLS
	tlsFiles.ServerName = p.host
	connector := serverconn.NewConnector(p.newFiles(tlsFiles), p.c.Names, p.c.Keepalive)
	defer connector.Close()
	server := p.server
	server.Address = p.address()
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	began := time.Now()
	conn, alpn, err := connector.Endpoint(server, p.addr).Connect(ctx, dialer.Protocols(p.server.Mode), false)
	took := time.Since(began)
	step.Seconds = took.Seconds()
	if err != nil {
		return p.refused(ctx, step, files, err)
	}
	state := conn.(*tls.Conn).ConnectionState()
	_ = conn.Close()
	p.chain = state.PeerCertificates
	leaf := p.chain[0]
	step.ALPN, step.Certificates = alpn, describeAll(p.chain)
	if alpn == "" {
		alpn = "none"
	}
	step.Found = fmt.Sprintf("%s, ALPN %s, in %s; the certificate %s of %s is for %q and %s",
		tls.VersionName(state.Version), alpn, report.Seconds(took), title(leaf), issuer(leaf), p.host, dates(leaf, p.c.now()))
	for _, cert := range p.chain {
		if validityAt(cert, p.c.now()) == expiresSoon {
			step.Result, step.Cause = report.Warning, report.CauseExpires
			step.Next = fmt.Sprintf("renew the server's certificate %s", title(cert))
			break
		}
	}
	p.add(step)
	return true
}

func (p *path) newFiles(files tunnel.TLS) *tlsfiles.Files {
	return tlsfiles.New(files, p.c.Names, slog.New(slog.DiscardHandler), func(tlsfiles.Role, *x509.Certificate) {})
}

func issuer(c *x509.Certificate) string {
	return fmt.Sprintf("%q", clip.Text(c.Issuer.String(), clip.Words))
}

// identify finds out whether the server is one for dials.
func (p *path) identify(ctx context.Context, files tlsFiles) bool {
	step := report.Step{Name: report.StepMode, Result: report.OK}
	ctx, cancel := context.WithTimeout(ctx, modeTimeout)
	defer cancel()
	began := time.Now()
	mode, err := p.dialer.Identify(ctx)
	took := time.Since(began)
	step.Seconds = took.Seconds()
	switch {
	case err == nil:
		step.Mode, p.usable, p.standard = string(mode), true, mode == tunnel.ModeHTTPSProxy || mode == tunnel.ModeH2Connect
		step.Found = fmt.Sprintf("it is a proxy-server that speaks %s, as it answered in %s", mode, report.Seconds(took))
		if p.standard {
			step.Found = fmt.Sprintf("it is %s, for which the mode is %s, as it answered in %s", p.kind(), mode, report.Seconds(took))
		}
		if better := p.dialer.BetterMode(); better != "" {
			step.Result, step.Cause = report.Warning, report.CauseWrongMode
			step.Found = fmt.Sprintf("it answers like a standard proxy, and is used as a proxy-server that speaks %s: slow apps are reset for nothing", mode)
			step.Next = "set " + p.c.Names.OtherMode(p.server, better)
		}
		p.add(step)
		return true
	case err.Reason == tunnel.ReasonTLS && files.failed():
		// Step files has said why.
	case err.Reason == tunnel.ReasonTLS:
		// With TLS 1.3 a server refuses the client's certificate after the handshake.
		p.amendTLS(err)
	default:
		p.add(p.wrongServer(ctx, step, err))
	}
	return false
}

// kind says what a standard proxy is.
func (p *path) kind() string {
	if name := p.dialer.Software(); name != "" {
		return fmt.Sprintf("a standard proxy (%q)", clip.Text(name, clip.Words))
	}
	return "a standard proxy"
}

// wrongServer completes the step about a server that cannot be used for dials.
func (p *path) wrongServer(ctx context.Context, step report.Step, err *tunnel.Error) report.Step {
	text := clip.Text(err.Err.Error(), clip.Sentence)
	step.Result, step.Cause, step.Found = report.Failure, causeOf(err), fact(text)
	switch {
	case err.Reason != tunnel.ReasonProtocol:
		step.Cause = report.CauseSilent
		step.Found = "the server accepts connections, and does not answer: " + text
		if serverconn.Interrupted(ctx) {
			step.Found = fmt.Sprintf("the server accepts connections, and has not answered within %s", report.Seconds(modeTimeout))
		}
		step.Next = "see whether the proxy-server hangs or is overloaded: its log, its CPU, kubectl get pods"
	case strings.Contains(text, "agents' port"):
		step.Cause = report.CauseAgentsPort
		step.Next = fmt.Sprintf("write the port for clients in %s: %s", p.c.Names.ProxyServer, serverconn.ServersPort)
	case strings.Contains(text, "TLS"):
		step.Cause = report.CausePlaintext
		step.Next = fmt.Sprintf("write the port for clients in %s: %s", p.c.Names.ProxyServer, serverconn.ServersPort)
	case errors.Is(err.Err, grpcmode.ErrOtherServer):
		step.Cause = report.CauseOtherServer
		step.Next = fmt.Sprintf("correct host and port in %s. If it is a standard proxy, set %s, or %s", p.c.Names.ProxyServer, p.c.Names.ModeIs(tunnel.ModeHTTPSProxy), p.c.Names.ModeIs(tunnel.ModeH2Connect))
	case p.server.Mode == tunnel.ModeH2Connect && err.Next != "":
		step.Cause, step.Next = report.CauseOtherServer, err.Next
	case p.namesMode(text):
		step.Cause = report.CauseWrongMode
		step.Next = p.setMode(text)
	default:
		step.Cause = report.CauseOtherServer
		step.Next = fmt.Sprintf("correct host and port in %s", p.c.Names.ProxyServer)
	}
	return step
}

// fact returns the text of an error without the advice at its end, which the next step has
// in its own words.
func fact(text string) string {
	for _, advice := range []string{": use ", ": for a gRPC server", ": for an http-connect server", ": is the port right?", "; is the port right?", ": " + serverconn.ServersPort} {
		text, _, _ = strings.Cut(text, advice)
	}
	return text
}

func causeOf(err *tunnel.Error) report.Cause { return report.Cause(err.Reason) }

// namesMode reports whether an error says how a mode is set.
func (p *path) namesMode(text string) bool {
	return slices.ContainsFunc(tunnel.Modes(), func(mode tunnel.Mode) bool {
		return strings.Contains(text, p.c.Names.ModeIs(mode))
	})
}

// setMode says which mode to configure for a server that speaks the other one.
func (p *path) setMode(text string) string {
	other := tunnel.ModeGRPC
	if strings.Contains(text, p.c.Names.ModeIs(tunnel.ModeHTTPConnect)+",") || p.server.Mode == tunnel.ModeGRPC {
		other = tunnel.ModeHTTPConnect
	}
	return "set " + p.c.Names.OtherMode(p.server, other)
}
