// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/http2wire/wiretest"
)

// BenchmarkDownload receives from a target behind a goProxy, over TLS.
func BenchmarkDownload(b *testing.B) {
	c := serveGo(b, Config{}, false)
	target := listen(b, func(conn *net.TCPConn) {
		p := make([]byte, 64<<10)
		for {
			if _, err := conn.Write(p); err != nil {
				return
			}
		}
	})
	s, err := c.Dial(b.Context(), target)
	must(b, err)
	defer s.Close()
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	rest := 0
	for b.Loop() {
		for rest += 1 << 20; rest > 0; {
			p, err := s.Receive()
			must(b, err)
			rest -= len(p)
		}
	}
}

// BenchmarkUpload sends in pieces of the size that a relay reads at once.
func BenchmarkUpload(b *testing.B) {
	c := serveGo(b, Config{}, false)
	s, err := c.Dial(b.Context(), listen(b, func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) }))
	must(b, err)
	defer s.Close()
	p := make([]byte, 128<<10)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		for range 8 {
			must(b, s.Send(p))
		}
	}
}

// BenchmarkRoundTrip sends a byte and waits for the echo.
func BenchmarkRoundTrip(b *testing.B) {
	c := serveGo(b, Config{}, false)
	s, err := c.Dial(b.Context(), listen(b, echo))
	must(b, err)
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		must(b, s.Send([]byte("x")))
		_, err := s.Receive()
		must(b, err)
	}
}

// acceptAll is a proxy that accepts each dial, and does nothing else.
func acceptAll(b *testing.B) *Conn {
	b.Helper()
	client, server := wiretest.Pair(b)
	socket := http2wire.NewSocket(client)
	c := New(socket, socket, Config{})
	var running sync.WaitGroup
	running.Go(c.Run)
	p := wiretest.New(b, server)
	running.Go(func() {
		_ = p.WriteSettings()
		for {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				p.SendHeaders(f.StreamID, false, ":status", "200")
			case *http2.PingFrame:
				_ = p.WritePing(true, f.Data)
			}
		}
	})
	b.Cleanup(func() {
		_ = c.Close()
		running.Wait()
	})
	must(b, c.Ready(b.Context()))
	return c
}

// BenchmarkDial dials and closes.
func BenchmarkDial(b *testing.B) {
	c := acceptAll(b)
	b.ReportAllocs()
	for b.Loop() {
		s, err := c.Dial(b.Context(), "10.0.0.1:9100")
		must(b, err)
		must(b, s.Close())
	}
}

// BenchmarkIdle opens streams on which nothing happens, each with a Receive that waits.
func BenchmarkIdle(b *testing.B) {
	const streams = 5000
	c := acceptAll(b)
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		all := make([]*Stream, streams)
		var receiving sync.WaitGroup
		for i := range all {
			s, err := c.Dial(b.Context(), "10.0.0.1:9100")
			must(b, err)
			all[i] = s
			receiving.Go(func() { _, _ = s.Receive() })
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/streams, "heap-bytes/conn")
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/streams, "stack-bytes/conn")
		for _, s := range all {
			_ = s.Close()
		}
		receiving.Wait()
	}
}
