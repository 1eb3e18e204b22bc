// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode/packettest"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// This file has a network of proxy-servers in a synctest bubble. Failover takes
// seconds, which pass there at once and exactly.

// hostState is the state of a host.
type hostState int

const (
	hostUp        hostState = iota
	hostNoAgent             // answers that it has no agent
	hostSilent              // accepts dials and never answers them
	hostStopped             // like hostSilent, and answers no handshake either: SIGSTOP
	hostRefuses             // has no process
	hostDropped             // no packet comes through
	hostDistrusts           // refuses our certificate
)

// host is one address with a proxy-server behind it.
type host struct {
	addr netip.AddrPort
	mode tunnel.Mode

	mu       sync.Mutex
	state    hostState
	connects int // connects, whatever their result
	dials    int // DIAL_REQs and CONNECTs that have come
	open     int // connections that are open
	unasked  int // http-connect connections without a request so far
	waiting  int // dials without an answer
	most     int // the most that waited at once
	conns    []net.Conn
	listener pipeListener
	server   *grpc.Server
}

// fakeNet has all hosts, and the names that resolve to them.
type fakeNet struct {
	t *testing.T

	stop func()      // ends the watch, if there is one
	mode tunnel.Mode // of the servers that are configured
	grpc []grpc.ServerOption

	mu      sync.Mutex
	hosts   map[netip.AddrPort]*host
	names   map[string][]netip.Addr
	lookups int
	running sync.WaitGroup
}

func newNet(t *testing.T) *fakeNet {
	return &fakeNet{t: t, stop: func() {}, hosts: map[netip.AddrPort]*host{}, names: map[string][]netip.Addr{}}
}

// host adds a host at addr, port 8090.
func (n *fakeNet) host(f frontend, addr string) *host {
	n.mode = f.configured
	h := &host{addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 8090), mode: f.speaks, listener: make(pipeListener)}
	if h.mode == tunnel.ModeGRPC {
		h.server = grpc.NewServer(n.grpc...)
		client.RegisterProxyServiceServer(h.server, scripted{script: h.proxy})
		n.running.Go(func() { _ = h.server.Serve(h.listener) })
	}
	n.hosts[h.addr] = h
	return h
}

// name makes name resolve to addrs. Without addrs, DNS fails.
func (n *fakeNet) name(name string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ips []netip.Addr
	for _, a := range addrs {
		ips = append(ips, netip.MustParseAddr(a))
	}
	n.names[name] = ips
}

// LookupNetIP implements resolver.
func (n *fakeNet) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups++
	ips, ok := n.names[host]
	if !ok {
		n.t.Errorf("lookup of %q, which nobody configured", host)
	}
	if len(ips) == 0 {
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	return slices.Clone(ips), nil
}

func (n *fakeNet) lookedUp() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lookups
}

// connect takes the place of connectTo.
func (n *fakeNet) connect(ctx context.Context, e *endpoint, _ []string) (net.Conn, string, *tunnel.Error) {
	h := n.hosts[e.Addr]
	if h == nil {
		n.t.Errorf("connection to %s, where nothing is", e.Addr)
	}
	h.mu.Lock()
	h.connects++
	state := h.state
	h.mu.Unlock()
	switch state {
	case hostRefuses:
		return nil, "", e.Unreachable(ctx, errors.New("connect: connection refused"))
	case hostDropped:
		pause.For(ctx, serverconn.AddressTimeout)
		return nil, "", e.Unreachable(ctx, errors.New("connect: i/o timeout"))
	case hostStopped:
		<-ctx.Done()
		return nil, "", e.Unreachable(ctx, ctx.Err())
	case hostDistrusts:
		return nil, "", e.Refused(errors.New("unknown certificate authority"))
	}
	ours, theirs := net.Pipe()
	h.mu.Lock()
	h.conns = append(h.conns, theirs)
	h.mu.Unlock()
	if h.mode == tunnel.ModeHTTPConnect {
		h.changes(&h.unasked, 1)
		n.running.Go(func() { h.tunnel(theirs) })
		return bareEnd{singlePipe{ours}}, serverconn.ALPNHTTP1, nil
	}
	h.listener <- theirs
	return ours, serverconn.ALPNHTTP2, nil
}

// becomes changes the state. A process that ends takes its connections with it.
func (h *host) becomes(state hostState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = state
	if state == hostRefuses {
		for _, c := range h.conns {
			_ = c.Close()
		}
		h.conns = nil
	}
}

// asked counts a dial and returns the host's state for it.
func (h *host) asked() hostState {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dials++
	return h.state
}

// waits counts a dial that will not be answered. The caller calls the result at its
// end.
func (h *host) waits() func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting++
	h.most = max(h.most, h.waiting)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.waiting--
	}
}

func (h *host) carries(by int) { h.changes(&h.open, by) }

func (h *host) changes(what *int, by int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*what += by
}

// counts are the numbers of a host so far.
type counts struct{ connects, dials, open, unasked, most int }

func (h *host) counts() counts {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return counts{h.connects, h.dials, h.open, h.unasked, h.most}
}

// proxy is the script of a gRPC host.
func (h *host) proxy(s client.ProxyService_ProxyServer) error {
	pkt, err := s.Recv()
	if err != nil {
		return err
	}
	switch h.asked() {
	case hostSilent, hostStopped:
		over := h.waits()
		_, _ = s.Recv() // DIAL_CLS, when the client has given up
		over()
		return linger(s)
	case hostNoAgent:
		_ = s.Send(packettest.DialRsp(pkt.GetDialRequest().GetRandom(), 0, "No agent available"))
		return linger(s)
	}
	h.carries(1)
	defer h.carries(-1)
	_ = s.Send(packettest.DialRsp(pkt.GetDialRequest().GetRandom(), connID, ""))
	return echo(s)
}

// tunnel is one connection of an http-connect host.
func (h *host) tunnel(c net.Conn) {
	defer c.Close()
	request := readRequest(c)
	h.changes(&h.unasked, -1)
	switch request {
	case "":
		return
	case greeting:
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		return
	}
	switch h.asked() {
	case hostSilent, hostStopped:
		over := h.waits()
		_, _ = io.Copy(io.Discard, c) // until the client has given up
		over()
		return
	case hostNoAgent:
		_, _ = io.WriteString(c, "HTTP/1.1 500 Internal Server Error\r\n\r\nNo agent available")
		return
	}
	h.carries(1)
	defer h.carries(-1)
	_, _ = io.WriteString(c, establishedLine)
	_, _ = io.Copy(c, c)
}

// configured returns servers at names.
func (n *fakeNet) configured(names ...string) (servers []tunnel.Server) {
	for _, name := range names {
		servers = append(servers, tunnel.Server{Name: name, Network: "tcp", Address: name + ":8090", Mode: n.mode})
	}
	return servers
}

// dialer returns a Dialer for servers at names, with the sidecar's default budget.
func (n *fakeNet) dialer(names ...string) *Dialer {
	n.t.Helper()
	entries, err := cidr.Parse("--shoot-pod-cidr", []string{"100.64.0.0/12"})
	must(n.t, err)
	set, err := cidr.New(entries, nil)
	must(n.t, err)
	d, err := New(Config{
		Names:   options.SettingNames(),
		Servers: n.configured(names...), CIDRs: set, DialTimeout: testBudget, Logger: slog.New(slog.NewTextHandler(n.t.Output(), nil)),
		Metrics: NewMetrics(prometheus.NewRegistry()), resolver: n, connect: n.connect, random: func() float64 { return 0 },
	})
	must(n.t, err)
	return d
}

// testBudget leaves time for two servers that do not answer.
const testBudget = 15 * time.Second

// run runs d's watch until stop.
func (n *fakeNet) run(d *Dialer) {
	ctx, cancel := context.WithCancel(n.t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = d.Run(ctx) })
	n.stop = func() {
		cancel()
		running.Wait()
	}
	synctest.Wait()
}

// end closes d, which must have no connections any more, and stops the hosts.
func (n *fakeNet) end(d *Dialer) {
	must(n.t, d.Close())
	for _, s := range d.servers {
		for _, e := range s.known() {
			if load := e.load.Load(); load != 0 {
				n.t.Errorf("%s is left with a load of %d", e.Addr, load)
			}
			if e.grpc().Status().InUse > 0 {
				n.t.Errorf("%s is left with its shared connection", e.Addr)
			}
		}
	}
	for _, h := range n.hosts {
		h.stop()
	}
	n.running.Wait()
}

// stop ends h for good.
func (h *host) stop() {
	if h.server != nil {
		h.server.Stop()
	}
	for _, c := range h.conns {
		_ = c.Close()
	}
}

// connected is a connection, and the time that its dial took.
type connected struct {
	tunnel.Conn
	err  error
	took time.Duration
}

// dial dials once through d.
func dial(ctx context.Context, d *Dialer) connected {
	began := time.Now()
	conn, err := d.DialContext(ctx, target, nil)
	return connected{conn, err, time.Since(began)}
}

// alive checks that c echoes.
func (c connected) alive(t *testing.T, what string) {
	t.Helper()
	if c.err != nil {
		t.Errorf("%s: %v", what, c.err)
		return
	}
	said := fmt.Sprintf("hello %s", what)
	if err := c.Send([]byte(said)); err != nil {
		t.Errorf("%s: Send: %v", what, err)
	}
	var got strings.Builder
	for got.Len() < len(said) {
		p, err := c.Receive()
		if err != nil {
			t.Errorf("%s: Receive after %q: %v", what, &got, err)
			return
		}
		got.Write(p)
	}
	if got.String() != said {
		t.Errorf("%s: received %q, want %q", what, &got, said)
	}
}
