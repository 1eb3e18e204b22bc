// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// These benchmarks measure the proxy and its relays, between apps' real TCP connections
// over loopback and tunnels in memory that cost nothing. The apps are in the same
// process, so each figure includes them.

// echoTunnel is a tunnel whose target echoes.
type echoTunnel struct {
	packets chan []byte
	closed  chan struct{}
	once    sync.Once
}

func (e *echoTunnel) Server() string { return server }

func (e *echoTunnel) Send(p []byte) error {
	select {
	case e.packets <- append([]byte(nil), p...):
		return nil
	case <-e.closed:
		return tunnel.ErrClosed
	}
}

func (e *echoTunnel) Receive() ([]byte, error) {
	select {
	case p := <-e.packets:
		return p, nil
	case <-e.closed:
		return nil, tunnel.ErrClosed
	}
}

func (e *echoTunnel) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

// idealDialer dials an echoTunnel at once.
type idealDialer struct{}

func (idealDialer) OwnsAddress(netip.AddrPort) bool { return false }

func (idealDialer) DialContext(context.Context, netip.AddrPort, tunnel.Hold) (tunnel.Conn, error) {
	return &echoTunnel{packets: make(chan []byte, 1), closed: make(chan struct{})}, nil
}

// benchProxy runs a proxy as released, except for the destinations of its connections.
// It returns its address.
func benchProxy(b *testing.B) string {
	b.Helper()
	listeners, err := Listen(b.Context(), []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, options.SettingNames())
	if err != nil {
		b.Fatal(err)
	}
	include, err := cidr.Parse("--shoot-pod-cidr", []string{"100.64.0.0/12"})
	if err != nil {
		b.Fatal(err)
	}
	set, err := cidr.New(include, nil)
	if err != nil {
		b.Fatal(err)
	}
	p := New(Config{
		Listeners: listeners, CIDRs: set, Dialer: idealDialer{}, Names: options.SettingNames(),
		DialTimeout: hangGuard, HalfCloseTimeout: hangGuard,
		MaxDials: defaults.MaxDials, MaxConnections: defaults.MaxConnections,
		ConnectionBuffer: defaults.ConnectionBuffer, Quota: quota.New(defaults.TotalBuffer),
		Check:   func(context.Context, netip.AddrPort) error { return nil },
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
		Metrics: NewMetrics(prometheus.NewRegistry()),
	})
	// Without a redirect there are as many system calls, but the result is replaced.
	lookup, socket := p.lookup, p.socket
	p.lookup = func(c syscall.Conn) (netip.AddrPort, error) {
		_, _ = lookup(c)
		return target, nil
	}
	listener := netip.MustParseAddrPort(listeners[0].Addr().String())
	p.socket = func(local, _ netip.AddrPort) (sockdiag.State, error) { return socket(local, listener) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return listener.String()
}

// useConnection connects an app, and exchanges one byte.
func useConnection(b *testing.B, address string) *net.TCPConn {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 1)
	if _, err := conn.Write(p); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(conn, p); err != nil {
		b.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// BenchmarkConnection measures a connection from its app's connect to its app's close.
func BenchmarkConnection(b *testing.B) {
	for name, end := range map[string]func(*net.TCPConn) error{"reset": relay.Reset, "closed": (*net.TCPConn).Close} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			address := benchProxy(b)
			for b.Loop() {
				if err := end(useConnection(b, address)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkIdleConnection reports the memory of a connection on which nothing moves,
// after it has been used. The figures include the app's end of the TCP connection and
// the tunnel's channels.
func BenchmarkIdleConnection(b *testing.B) {
	const connections = 2000
	for b.Loop() {
		b.StopTimer()
		address := benchProxy(b)
		apps := make([]*net.TCPConn, 0, connections)
		before := memoryInUse()
		b.StartTimer()
		for range connections {
			apps = append(apps, useConnection(b, address))
		}
		b.StopTimer()
		after := memoryInUse()
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/connections, "stack-B/conn")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/connections, "heap-B/conn")
		for _, app := range apps {
			_ = relay.Reset(app)
		}
		b.StartTimer()
	}
}

// memoryInUse returns the memory statistics after a collection.
func memoryInUse() (m runtime.MemStats) {
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m
}
