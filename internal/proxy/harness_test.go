// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hangGuard ends a test that would otherwise wait for ever. It does not measure speed.
const hangGuard = 20 * time.Second

// target is a shoot address. server is the name of the fake proxy-server.
var target = netip.MustParseAddrPort("100.64.3.7:9100")

const server = "fake-server:8090"

// shoot returns 100.64.0.0/12 and fd00:10::/64 without 100.64.0.53.
func shoot(t *testing.T) *cidr.Set {
	t.Helper()
	include, err := cidr.Parse("--shoot-pod-cidr", []string{"100.64.0.0/12", "fd00:10::/64"})
	if err != nil {
		t.Fatal(err)
	}
	exclude, err := cidr.Parse("--exclude-cidr", []string{"100.64.0.53/32"})
	if err != nil {
		t.Fatal(err)
	}
	set, err := cidr.New(include, exclude)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// harness is a running Proxy. Its lookup treats all connections as redirected.
type harness struct {
	*Proxy
	t        *testing.T
	registry *prometheus.Registry
	log      *logtest.Buffer
	dialer   *fakeDialer
	cancel   context.CancelFunc // begins the drain
	result   chan error         // what Run returned
	want     error              // what Run must return
	addr     string             // of the first listener
	settled  chan struct{}      // has an element for each app whose connect has returned
}

// start runs a Proxy that looks up destination for every connection. The test ends with
// an abort, and Run must then return nil.
func start(t *testing.T, dialer *fakeDialer, destination netip.AddrPort, change func(*Proxy)) *harness {
	t.Helper()
	dialer.t = t
	listeners, err := Listen(t.Context(), []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, options.SettingNames())
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, registry: prometheus.NewRegistry(), log: &logtest.Buffer{}, dialer: dialer, result: make(chan error, 1), settled: make(chan struct{}, 100)}
	h.addr = listeners[0].Addr().String()
	h.Proxy = New(Config{
		Listeners: listeners, CIDRs: shoot(t), Dialer: dialer, Names: options.SettingNames(),
		DialTimeout: hangGuard, HalfCloseTimeout: hangGuard, DrainTimeout: hangGuard,
		MaxDials: defaults.MaxDials, MaxConnections: defaults.MaxConnections,
		ConnectionBuffer: defaults.ConnectionBuffer, Quota: quota.New(defaults.TotalBuffer),
		Logger:  h.log.Logger(slog.LevelInfo),
		Metrics: NewMetrics(h.registry),
	})
	h.lookup = func(syscall.Conn) (netip.AddrPort, error) { return destination, nil }
	h.cfg.Check = func(context.Context, netip.AddrPort) error { return nil }
	// Apps' sockets here are connected to the listener, not to a redirected
	// destination.
	listener := netip.MustParseAddrPort(h.addr)
	h.socket = func(local, _ netip.AddrPort) (sockdiag.State, error) { return sockdiag.Lookup(local, listener) }
	if change != nil {
		change(h.Proxy)
	}
	// A reset can arrive before the app's connect returns, and makes it fail.
	lookup := h.lookup
	h.lookup = func(c syscall.Conn) (netip.AddrPort, error) {
		<-h.settled
		return lookup(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() { h.result <- h.Run(ctx) }()
	t.Cleanup(func() {
		h.Abort()
		cancel()
		h.wait(h.want)
	})
	h.eventually("the proxy is ready", func() bool { return h.Ready() == nil })
	return h
}

// wait waits until Run returns. It may be called again.
func (h *harness) wait(want error) {
	h.t.Helper()
	select {
	case err := <-h.result:
		h.result <- want
		h.want = want
		if !errors.Is(err, want) {
			h.t.Errorf("Run returned %v, want %v", err, want)
		}
	case <-time.After(hangGuard):
		h.t.Fatal("Run does not end")
	}
}

// connect returns an app's connection to the proxy.
func (h *harness) connect() *net.TCPConn {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatalf("the app cannot connect: %v", err)
	}
	h.settled <- struct{}{}
	h.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(hangGuard)); err != nil {
		h.t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// eventually waits for a state that no event announces.
func (h *harness) eventually(what string, holds func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(hangGuard); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("waited in vain until %s; log:\n%s", what, h.log)
		}
	}
}

// line waits for the log line with this message, and returns it. There must be exactly
// one.
func (h *harness) line(message string) map[string]any {
	h.t.Helper()
	deadline := time.After(hangGuard)
	for {
		switch lines := h.log.Lines(h.t, message); len(lines) {
		case 0:
		case 1:
			return lines[0]
		default:
			h.t.Fatalf("%d log lines %q, want one:\n%s", len(lines), message, h.log)
		}
		select {
		case <-h.log.Added():
		case <-deadline:
			h.t.Fatalf("no log line %q:\n%s", message, h.log)
		}
	}
}

// value returns a metric. labels are pairs of name and value.
func (h *harness) value(name string, labels ...string) float64 {
	h.t.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	metrics:
		for _, m := range family.Metric {
			if len(m.Label)*2 != len(labels) {
				continue
			}
			for i, l := range m.Label {
				if l.GetName() != labels[2*i] || l.GetValue() != labels[2*i+1] {
					continue metrics
				}
			}
			switch {
			case m.Counter != nil:
				return m.Counter.GetValue()
			case m.Gauge != nil:
				return m.Gauge.GetValue()
			case m.Histogram != nil:
				return float64(m.Histogram.GetSampleCount())
			}
		}
	}
	h.t.Fatalf("no metric %s%v", name, labels)
	return 0
}

func (h *harness) wantValue(want float64, name string, labels ...string) {
	h.t.Helper()
	if got := h.value(name, labels...); got != want {
		h.t.Errorf("%s%v is %v, want %v", name, labels, got, want)
	}
}

// wantReset reads app to its end, which must be a reset.
func wantReset(t *testing.T, app net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, app); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the app must see its connection reset, but sees %v (nil is a clean end of file)", err)
	}
}

// exchange passes bytes both ways. Afterwards the connection is certainly established.
func exchange(t *testing.T, app, far net.Conn) {
	t.Helper()
	for _, way := range [][2]net.Conn{{app, far}, {far, app}} {
		if _, err := way[0].Write([]byte("hello")); err != nil {
			t.Fatalf("the relay does not take bytes: %v", err)
		}
		got := make([]byte, len("hello"))
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != "hello" {
			t.Fatalf("the relay passed %q on, %v", got, err)
		}
	}
}

// fakeDialer fails the test for every dial that it does not expect.
type fakeDialer struct {
	t    *testing.T
	owns netip.AddrPort
	dial map[netip.AddrPort]func(context.Context) (tunnel.Conn, error)
	// dialed is called when a dial has ended, if it is set.
	dialed func(context.Context, netip.AddrPort, tunnel.Hold)
}

func (d *fakeDialer) OwnsAddress(a netip.AddrPort) bool { return a == d.owns }

func (d *fakeDialer) DialContext(ctx context.Context, destination netip.AddrPort, hold tunnel.Hold) (tunnel.Conn, error) {
	dial, ok := d.dial[destination]
	if !ok {
		d.t.Errorf("the proxy dialled %s, which it must not", destination)
		return nil, &tunnel.Error{Reason: tunnel.ReasonOther, Err: errors.New("unexpected dial")}
	}
	if d.dialed != nil {
		defer d.dialed(ctx, destination, hold)
	}
	return dial(ctx)
}

// dials returns a fakeDialer for the one target.
func dials(dial func(context.Context) (tunnel.Conn, error)) *fakeDialer {
	return &fakeDialer{dial: map[netip.AddrPort]func(context.Context) (tunnel.Conn, error){target: dial}}
}

// tunnelTo returns a dial that leads to a new TCP connection. accept returns that
// connection's other end.
func tunnelTo(t *testing.T) (dial func(context.Context) (tunnel.Conn, error), accept func() *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	dial = func(ctx context.Context) (tunnel.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
		if err != nil {
			return nil, err
		}
		return &fakeConn{TCPConn: conn.(*net.TCPConn)}, nil
	}
	accept = func() *net.TCPConn {
		t.Helper()
		if err := ln.(*net.TCPListener).SetDeadline(time.Now().Add(hangGuard)); err != nil {
			t.Fatal(err)
		}
		conn, err := ln.Accept()
		if err != nil {
			t.Fatalf("nothing was dialled: %v", err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(hangGuard)); err != nil {
			t.Fatal(err)
		}
		return conn.(*net.TCPConn)
	}
	return dial, accept
}

// fakeConn is a tunnel.Conn over TCP. FIN is the target's close, RST a broken
// connection to the proxy-server.
type fakeConn struct {
	*net.TCPConn
	buf [4096]byte
}

func (c *fakeConn) Server() string { return server }

func (c *fakeConn) Send(p []byte) error {
	_, err := c.Write(p)
	return err
}

func (c *fakeConn) Receive() ([]byte, error) {
	n, err := c.Read(c.buf[:])
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return c.buf[:n], err
	case errors.Is(err, net.ErrClosed):
		return nil, tunnel.ErrClosed
	default:
		return nil, errors.Join(tunnel.ErrBroken, err)
	}
}

func (c *fakeConn) Close() error {
	_ = c.TCPConn.Close()
	return nil
}
