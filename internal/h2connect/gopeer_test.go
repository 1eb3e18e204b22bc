// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/http2wire/wiretest"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// goProxy is a CONNECT proxy with golang.org/x/net's server.
func goProxy(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	target, err := net.DialTimeout("tcp", r.Host, 5*time.Second)
	if err != nil {
		w.Header().Set("Proxy-Status", `go; error=connection_refused; details="no one listens"`)
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "refused")
		return
	}
	defer target.Close()
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(target, r.Body)
		_ = target.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(flushed{w}, target)
	_ = r.Body.Close()
	up.Wait()
}

// flushed sends what is written at once.
type flushed struct{ http.ResponseWriter }

// Write implements io.Writer.
func (f flushed) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	_ = http.NewResponseController(f.ResponseWriter).Flush()
	return n, err
}

// serveGo connects to a goProxy over TLS. If gathers is set, the connection below TLS
// stands for one that is not the kernel's.
func serveGo(t testing.TB, cfg Config, gathers bool) *Conn {
	t.Helper()
	client, server := wiretest.Pair(t)
	pair := certtest.SelfSigned(t, x509.Certificate{}).TLS()
	var serving sync.WaitGroup
	serving.Go(func() {
		secured := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
		if err := secured.Handshake(); err != nil { // ServeConn wants to see its result
			t.Error(err)
		}
		(&http2.Server{MaxConcurrentStreams: 1000}).ServeConn(secured, &http2.ServeConnOpts{Handler: http.HandlerFunc(goProxy)})
	})
	socket := http2wire.NewSocket(client)
	if gathers {
		socket = http2wire.GatherOn(client)
	}
	below := &replaceable{client}
	conn := tls.Client(below, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	must(t, conn.Handshake())
	below.Conn = socket
	c := New(conn, socket, cfg)
	serving.Go(c.Run)
	t.Cleanup(func() {
		_ = c.Close()
		serving.Wait()
	})
	must(t, c.Ready(t.Context()))
	return c
}

// replaceable is the connection below TLS, which is replaced after the handshake.
type replaceable struct{ net.Conn }

// listen starts a target, and returns its address.
func listen(t testing.TB, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(2 * waittest.Limit))
				serve(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// echo returns what it gets, and then ends its direction.
func echo(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }

// content returns the n bytes of a stream, which differ from those of other seeds.
func content(seed uint64, n int) []byte {
	p := make([]byte, n)
	random := rand.NewPCG(seed, 0)
	for i := range p {
		if i%8 == 0 {
			p[i] = byte(random.Uint64())
			continue
		}
		p[i] = p[i-1] + 1
	}
	return p
}

// wantEcho sends all and then half-closes, and checks that all comes back, and then the
// end.
func wantEcho(t testing.TB, s *Stream, all []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		for rest := all; len(rest) > 0; rest = rest[min(len(rest), 50_000):] {
			if err := s.Send(rest[:min(len(rest), 50_000)]); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseWrite()
	}()
	got := 0
	for {
		p, err := s.Receive()
		if err == io.EOF {
			break
		}
		if err != nil || got+len(p) > len(all) || string(p) != string(all[got:got+len(p)]) {
			t.Errorf("received %d bytes behind %d of %d, or other ones: %v", len(p), got, len(all), err)
			break
		}
		got += len(p)
	}
	if got != len(all) {
		t.Errorf("received %d bytes, want %d", got, len(all))
	}
	must(t, waittest.Await(t, sent, "the end of Send"))
}

// TestAgainstGo: many streams at once carry their bytes both ways, half-close, and end,
// over TLS on a socket and on another connection.
func TestAgainstGo(t *testing.T) {
	for _, gathers := range []bool{false, true} {
		t.Run(fmt.Sprintf("gathers=%v", gathers), func(t *testing.T) {
			c := serveGo(t, Config{UserAgent: "test"}, gathers)
			target := listen(t, echo)
			var streams sync.WaitGroup
			for i := range uint64(40) {
				streams.Go(func() {
					s, err := c.Dial(t.Context(), target)
					if err != nil {
						t.Errorf("dial %d: %v", i, err)
						return
					}
					wantEcho(t, s, content(i, int(i*i*977)%700_000))
					must(t, s.Close())
				})
			}
			streams.Wait()
			if n := c.Streams(); n != 0 {
				t.Errorf("%d streams are left", n)
			}
		})
	}
}

// TestRefusedByGo: the refusal of a real proxy.
func TestRefusedByGo(t *testing.T) {
	c := serveGo(t, Config{}, false)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	target := l.Addr().String()
	must(t, l.Close())
	_, err = c.Dial(t.Context(), target)
	if got, ok := errors.AsType[*Refusal](err); !ok || *got != (Refusal{502, "connection_refused", "no one listens"}) {
		t.Errorf("the dial ended with %v", err)
	}
	s, err := c.Dial(t.Context(), listen(t, echo))
	must(t, err)
	wantEcho(t, s, content(1, 1000))
	must(t, s.Close())
}

// TestStalledReader: streams that are not received stop their targets, and no other
// stream. Nothing is lost once they are.
func TestStalledReader(t *testing.T) {
	all := content(7, 1<<20)
	c := serveGo(t, Config{}, false)
	target := listen(t, func(conn *net.TCPConn) { _, _ = conn.Write(all) })
	other := listen(t, echo)
	var stalled []*Stream
	for range 8 {
		s, err := c.Dial(t.Context(), target)
		must(t, err)
		stalled = append(stalled, s)
	}
	for _, s := range stalled {
		wantHeld(t, s, initialWindow)
	}
	for i := range uint64(10) {
		s, err := c.Dial(t.Context(), other)
		must(t, err)
		wantEcho(t, s, content(i, 200_000))
		must(t, s.Close())
	}
	for _, s := range stalled {
		if n, _ := s.Held(); n != initialWindow {
			t.Errorf("%d bytes are held, want %d", n, initialWindow)
		}
		want := all
		for {
			p, err := s.Receive()
			if err == io.EOF {
				break
			}
			if must(t, err); len(p) > len(want) || string(p) != string(want[:len(p)]) {
				t.Fatal("other bytes than were sent")
			}
			want = want[len(p):]
		}
		if len(want) > 0 {
			t.Errorf("%d bytes are missing", len(want))
		}
		must(t, s.Close())
	}
}

// TestMemoryIsBounded: if many streams are not received, the windows of all become narrow,
// and what is held stays within the quota. Nothing is reset: all bytes arrive in the end.
func TestMemoryIsBounded(t *testing.T) {
	const streams, size = 128, 300_000
	held := quota.New(streams * 16 << 10) // as much for each as at the default limits
	all := content(7, size)
	c := serveGo(t, Config{Quota: held}, false)
	target := listen(t, func(conn *net.TCPConn) { _, _ = conn.Write(all) })
	var stalled []*Stream
	for range streams {
		s, err := c.Dial(t.Context(), target)
		must(t, err)
		stalled = append(stalled, s)
		waittest.Eventually(t, "the stream to stall", func() bool {
			n, _ := s.Held()
			return n >= tinyWindow
		})
	}
	if n := held.Held(); n > held.Limit() || n < held.Limit()/2 {
		t.Errorf("%d bytes are held, want up to %d", n, held.Limit())
	}
	var receiving sync.WaitGroup
	for i, s := range stalled {
		receiving.Go(func() {
			defer s.Close()
			want := all
			for {
				p, err := s.Receive()
				if err == io.EOF {
					break
				}
				if err != nil || len(p) > len(want) || string(p) != string(want[:len(p)]) {
					t.Errorf("stream %d: %d bytes before its end: %v", i, len(want), err)
					return
				}
				want = want[len(p):]
			}
			if len(want) > 0 {
				t.Errorf("stream %d: %d bytes are missing", i, len(want))
			}
		})
	}
	receiving.Wait()
	if n := held.Held(); n != 0 {
		t.Errorf("%d bytes are held in the end", n)
	}
}
