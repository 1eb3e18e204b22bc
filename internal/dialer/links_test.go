// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// counted counts a server's connections.
type counted struct {
	net.Listener
	made, open atomic.Int64
	kept       chan net.Conn // gets each connection, unless it is nil
}

type countedConn struct {
	net.Conn
	once sync.Once
	l    *counted
}

// Accept implements net.Listener.
func (l *counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.made.Add(1)
	l.open.Add(1)
	if l.kept != nil {
		l.kept <- conn
	}
	return &countedConn{Conn: conn, l: l}, nil
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.once.Do(func() { c.l.open.Add(-1) })
	return c.Conn.Close()
}

// serveFew starts a server with grpc-go, which echoes and allows few streams on a
// connection.
func (p *pki) serveFew(t *testing.T, streams uint32, script script) (tunnel.Server, *counted) {
	t.Helper()
	l := &counted{Listener: listen(t)}
	return serveScript(t, l, tunnel.ModeGRPC, script, grpc.MaxConcurrentStreams(streams),
		grpc.Creds(credentials.NewTLS(p.serverConfig()))), l
}

// maxBurst is how many dials may wait for connections at once. A dial that waits for
// [answerTimeout] has failed, and a busy machine makes few connections in that time.
const maxBurst = 40

// burst dials n times, up to maxBurst at once, and returns the connections.
func (f *fixture) burst(t *testing.T, n int) []tunnel.Conn {
	t.Helper()
	conns := make([]tunnel.Conn, n)
	var dialing sync.WaitGroup
	inFlight := make(chan struct{}, maxBurst)
	for i := range conns {
		inFlight <- struct{}{}
		dialing.Go(func() {
			defer func() { <-inFlight }()
			conn, err := f.dial(t)
			if err != nil {
				t.Errorf("dial %d: %v", i, err)
			}
			conns[i] = conn
		})
	}
	dialing.Wait()
	if t.Failed() {
		for _, conn := range conns {
			if conn != nil { // the dialer's end waits for each open connection
				_ = conn.Close()
			}
		}
		t.FailNow()
	}
	return conns
}

// echoes checks that each of conns echoes.
func echoes(t *testing.T, conns []tunnel.Conn) {
	t.Helper()
	for i, conn := range conns {
		said := fmt.Sprintf("number %d", i)
		must(t, conn.Send([]byte(said)))
		if got, err := conn.Receive(); err != nil || string(got) != said {
			t.Errorf("connection %d returns %q, %v", i, got, err)
		}
	}
}

// linkCounts returns how many links are in use, and how many of them have no streams.
func (e *endpoint) linkCounts() (inUse, idle int) {
	s := e.grpc().Status()
	return s.InUse, s.Idle
}

// TestFewStreams: if a server allows few streams on a connection, dials that come
// together get as many connections as they need. No dial fails, the server is not set
// aside, and one connection is left when all have ended.
func TestFewStreams(t *testing.T) {
	for _, tc := range []struct {
		streams     uint32
		dials, want int // connections in use
	}{{1, 200, 200}, {10, 200, 20}, {100, 250, 3}, {1 << 20, 200, 1}} {
		t.Run(fmt.Sprintf("%d for %d", tc.streams, tc.dials), func(t *testing.T) {
			p := newPKI(t)
			server, l := p.serveFew(t, tc.streams, echoing)
			d := newDialer(t, p.client(), hang, server)
			d.connect(t)
			conns := d.burst(t, tc.dials)
			echoes(t, conns)
			e := d.endpoint(t)
			if n, _ := e.linkCounts(); n < tc.want || n > tc.want+linksAtOnce {
				t.Errorf("%d connections to the server, want %d", n, tc.want)
			}
			e.mu.Lock()
			if waiting := e.grpc().Status().Waiting; e.aside.failures != 0 || waiting != 0 {
				t.Errorf("%d failures are held against the server, and %d dials wait", e.aside.failures, waiting)
			}
			e.mu.Unlock()
			if failed := d.samples(t, "konnectivity_network_proxy_client_dial_failure_total"); len(failed) != 0 {
				t.Errorf("dials failed: %v", failed)
			}
			for _, conn := range conns {
				must(t, conn.Close())
			}
			waittest.Eventually(t, "one connection to the server is left", func() bool {
				n, _ := e.linkCounts()
				return n == 1 && l.open.Load() == 1
			})
			made := l.made.Load()
			for range 10 {
				again := d.burst(t, 1)
				echoes(t, again)
				must(t, again[0].Close())
				waittest.Eventually(t, "its end", func() bool { _, idle := e.linkCounts(); return idle == 1 })
			}
			if n := l.made.Load() - made; n != 0 {
				t.Errorf("%d connections were made for dials one after the other", n)
			}
		})
	}
}

// TestFewStreamsAreReused: a dial that waits for a connection gets room that others
// leave meanwhile.
func TestFewStreamsAreReused(t *testing.T) {
	p := newPKI(t)
	server, _ := p.serveFew(t, 2, echoing)
	d := newDialer(t, p.client(), hang, server)
	var dialing sync.WaitGroup
	for range 50 {
		dialing.Go(func() {
			for range 4 {
				conn, err := d.dial(t)
				if err != nil {
					t.Error(err)
					return
				}
				_ = conn.Close()
			}
		})
	}
	dialing.Wait()
	e := d.endpoint(t)
	waittest.Eventually(t, "one connection to the server is left", func() bool { n, idle := e.linkCounts(); return n == 1 && idle == 1 })
}

// TestFewFiles: if there are no files for the connections that a burst needs, the
// server is not to blame.
func TestFewFiles(t *testing.T) {
	p := newPKI(t)
	server, _ := p.serveFew(t, 1, echoing)
	d := newDialer(t, p.client(), hang, server)
	d.files = 8
	d.connect(t)
	e := d.endpoint(t)
	var conns []tunnel.Conn
	for len(conns) < 8 {
		conn, err := d.attempt(t)
		if err == nil {
			conns = append(conns, conn)
			continue
		}
		if err.Reason != tunnel.ReasonMaxConnections || !err.Fault.Ours() {
			t.Errorf("the dial behind %d ended with %s (%v), want %s", len(conns), err.Reason, err, tunnel.ReasonMaxConnections)
		}
		break
	}
	if len(conns) < 2 || len(conns) > 4 {
		t.Errorf("%d connections with as many links, and 8 files", len(conns))
	}
	if e.aside.failures != 0 {
		t.Error("the server is set aside")
	}
	for _, conn := range conns {
		must(t, conn.Close())
	}
}

// TestNoStreams: a server that allows no streams, at first or later, causes an error.
// Its open streams go on.
func TestNoStreams(t *testing.T) {
	p := newPKI(t)
	var none atomic.Bool
	server := p.serveRaw(t, tunnel.ModeGRPC, serverconn.ALPNHTTP2, func(c rawConn) {
		if none.Load() {
			c.say(h2Frame(h2Settings, 0, 0, "\x00\x03\x00\x00\x00\x00"))
		} else {
			c.say(h2Frame(h2Settings, 0, 0, ""))
		}
		id, ok := <-c.streams // the stream of the check
		for ; ok; id, ok = <-c.streams {
			c.say(h2Frame(h2Headers, h2EndHeaders|h2EndStream, id, hpackOK+hpackGRPC+"\x40\x0bgrpc-status\x010"))
			if !none.Swap(true) {
				c.say(h2Frame(h2Settings, 0, 0, "\x00\x03\x00\x00\x00\x00"))
			}
		}
	})
	d := newDialer(t, p.client(), hang, server)
	for range 2 {
		conn, err := d.attempt(t)
		if err == nil {
			_ = conn.Close()
			t.Fatal("a dial through a server that allows no streams")
		}
		if err.Reason != tunnel.ReasonServerUnreachable || !err.Fault.Elsewhere() {
			t.Errorf("reason %s (%v), want %s, and another server", err.Reason, err, tunnel.ReasonServerUnreachable)
		}
	}
}

// TestNoStreamsFromTheStart: a server through which no dial can work is not up.
func TestNoStreamsFromTheStart(t *testing.T) {
	p := newPKI(t)
	d := newDialer(t, p.client(), hang, p.serveRaw(t, tunnel.ModeGRPC, serverconn.ALPNHTTP2, func(c rawConn) {
		c.say(h2Frame(h2Settings, 0, 0, "\x00\x03\x00\x00\x00\x00"))
	}))
	conn, err := d.attempt(t)
	if err == nil {
		_ = conn.Close()
		t.Fatal("a dial through a server that allows no streams")
	}
	if err.Reason != tunnel.ReasonServerUnreachable || !strings.Contains(err.Error(), "SETTINGS_MAX_CONCURRENT_STREAMS is 0") {
		t.Errorf("reason %s (%v), want %s", err.Reason, err, tunnel.ReasonServerUnreachable)
	}
	if d.Reachable() {
		t.Error("the server counts as reachable")
	}
}

// TestFewerStreams: a server may lower its limit while streams are open. They go on,
// and new ones get further connections.
func TestFewerStreams(t *testing.T) {
	p := newPKI(t)
	server, conns := p.serveTampered(t, echoing)
	d := newDialer(t, p.client(), hang, server)
	old := d.burst(t, 10)
	wire := <-conns
	_, err := io.WriteString(wire, h2Frame(h2Settings, 0, 0, "\x00\x03\x00\x00\x00\x03"))
	must(t, err)
	e := d.endpoint(t)
	first := e.grpc().Wire()
	waittest.Eventually(t, "the new limit", func() bool { return first.Limit() == 3 })
	fresh := d.burst(t, 5)
	echoes(t, append(old, fresh...))
	if n, _ := e.linkCounts(); n < 2 || n > 3 { // two, if the second was expected to carry three streams
		t.Errorf("%d connections to the server, want one or two more", n)
	}
	for _, conn := range old[:7] {
		must(t, conn.Close())
	}
	waittest.Eventually(t, "the ends of those", func() bool { return first.Streams() == 3 })
	for _, conn := range append(old[7:], fresh...) {
		must(t, conn.Close())
	}
}

// TestLastStream: a link gets no new streams shortly before the last stream number,
// whether it still has others or not. Its streams go on.
func TestLastStream(t *testing.T) {
	p := newPKI(t)
	l := &counted{Listener: listen(t)}
	server := serveScript(t, l, tunnel.ModeGRPC, echoing, grpc.Creds(credentials.NewTLS(p.serverConfig())))
	d := newDialer(t, p.client(), hang, server)
	d.grpc.FirstStream = 1<<31 - 1 - 2*1000 - 2*4 // grpcwire keeps the last 1,000 back
	var conns []tunnel.Conn
	for range 5 {
		conns = append(conns, d.burst(t, 2)...)
	}
	for range 10 {
		conn, err := d.attempt(t)
		if err != nil {
			t.Fatal(err)
		}
		must(t, conn.Close())
	}
	echoes(t, conns)
	if n := l.made.Load(); n < 4 {
		t.Errorf("20 dials went over %d connections, which carry five each", n)
	}
	for _, conn := range conns {
		must(t, conn.Close())
	}
}
