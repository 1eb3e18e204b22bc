// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestTheAgentDies: behind the proxy-server its death is a clean end. Streams must be broken
// all the same, and new dials use new tunnels.
func TestTheAgentDies(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, nil)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
	w := newWay(t, p, n, nil)
	w.filled(t)
	c := w.through(t)
	defer c.Close()
	echo(t, c, "before")
	n.cut()
	if got, err := c.Receive(); !errors.Is(err, tunnel.ErrBroken) || errors.Is(err, io.EOF) {
		t.Errorf("got %q and %v, want the connection to be broken", got, err)
	}
	after := w.through(t)
	defer after.Close()
	echo(t, after, "after")
}

// TestTheExitDies: an exit that ends with close_notify in the middle of an answer breaks its
// streams too.
func TestTheExitDies(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, nil)
	w := newWay(t, p, newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr}), nil)
	c := w.through(t)
	defer c.Close()
	echo(t, c, "half an ans")
	_ = e.Server.Close()
	if got, err := c.Receive(); !errors.Is(err, tunnel.ErrBroken) || errors.Is(err, io.EOF) {
		t.Errorf("got %q and %v, want the connection to be broken", got, err)
	}
}

// TestGoAway: an exit that ends gets no further dials. Its streams go on until they end.
func TestGoAway(t *testing.T) {
	p := newPKI(t)
	first := startExit(t, p, nil)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: first.addr})
	w := newWay(t, p, n, nil)
	w.filled(t)
	old := w.through(t)
	echo(t, old, "before")
	second := startExit(t, p, nil)
	n.set(theExit, second.addr)
	ended := make(chan error, 1)
	go func() { ended <- first.Shutdown(context.Background()) }() // sends GOAWAY, waits for streams
	waittest.Eventually(t, "tunnels to the second exit", func() bool { return second.connections() >= fewestSlots })
	c := w.through(t)
	defer c.Close()
	echo(t, c, "to the second")
	if len(second.clientNames()) != 1 {
		t.Error("the new connection does not go to the second exit")
	}
	echo(t, old, "the old one goes on")
	must(t, old.Close())
	must(t, waittest.Await(t, ended, "the end of the first exit"))
}

// TestAge: a tunnel that is old is replaced, also while nothing is wrong. It is closed when
// its streams have ended.
func TestAge(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, nil)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
	w := newWay(t, p, n, func(cfg *Config) { cfg.times.age = 20 * time.Millisecond })
	old := w.through(t)
	waittest.Eventually(t, "several generations of tunnels", func() bool { return e.connections() >= 6*fewestSlots })
	echo(t, old, "the old one goes on")
	must(t, old.Close())
	waittest.Eventually(t, "the end of old tunnels", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.tunnels) <= fewestSlots+1 // one may be on its way
	})
	if _, plain := n.attempts(); plain != 0 {
		t.Error("a dial went without the exit")
	}
}

// TestLastingStreamsBoundTheTunnels: streams that last do not let the tunnels become more and
// more.
func TestLastingStreamsBoundTheTunnels(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, nil)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
	w := newWay(t, p, n, func(cfg *Config) { cfg.times.age = time.Millisecond })
	most := 0
	for range 200 {
		c := w.through(t)
		t.Cleanup(func() { _ = c.Close() })
		w.mu.Lock()
		most = max(most, len(w.tunnels))
		w.mu.Unlock()
	}
	if limit := mostReplaced + 2*fewestSlots; most > limit {
		t.Errorf("%d tunnels were open at once, want %d at most", most, limit)
	}
}

// TestNewCertificate: after the client certificate has changed, dials use tunnels with the new
// one.
func TestNewCertificate(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, nil)
	w := newWay(t, p, newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr}), nil)
	must(t, w.through(t).Close())
	p.newClient(t, "renewed")
	waittest.Eventually(t, "a dial with the new certificate", func() bool {
		must(t, w.through(t).Close())
		names := e.clientNames()
		return names[len(names)-1] == "renewed"
	})
}

// TestFullTunnels: if each tunnel has as many streams as the exit allows, there are more
// tunnels. If there may not be more, a dial waits until a stream ends.
func TestFullTunnels(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, func(e *exitServer) { e.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 1} })
	w := newWay(t, p, newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr}), nil)
	var open []tunnel.Carrier
	for range mostSlots {
		c := w.through(t)
		open = append(open, c)
		echo(t, c, "hello")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.DialContext(ctx, target, nil); tunnel.ReasonOf(err) != tunnel.ReasonMaxConnections {
		t.Errorf("beyond what the exit allows: %v, want the reason max_connections", err)
	}
	waiting := make(chan tunnel.Conn, 1)
	go func() {
		if c, err := w.dial(t); err == nil {
			waiting <- c
		}
	}()
	must(t, open[0].Close())
	open[0] = waittest.Await(t, waiting, "the dial that waits for room").(tunnel.Carrier)
	for _, c := range open {
		must(t, c.Close())
	}
}

// TestSeveralExits: tunnels are spread over exits, and go to another if one is down.
func TestSeveralExits(t *testing.T) {
	p := newPKI(t)
	first, second := startExit(t, p, nil), startExit(t, p, nil)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: first.addr, otherExit: second.addr})
	w := newWay(t, p, n, func(cfg *Config) { cfg.Exits.Targets = []tunnel.HostPort{theExit, otherExit} })
	w.filled(t)
	if first.connections() == 0 || second.connections() == 0 {
		t.Fatal("the tunnels are not spread over the exits")
	}
	n.set(otherExit, netip.AddrPort{})
	_ = second.Server.Close()
	waittest.Eventually(t, "two tunnels to the first exit", func() bool { return first.connections() >= 2 })
	w.filled(t)
	c := w.through(t)
	defer c.Close()
	echo(t, c, "hello")
	if _, plain := n.attempts(); plain != 0 {
		t.Error("a dial went without the exit, although one answers")
	}
}

// otherExit is the second of twoExits, as the agent dials it.
const otherExit = tunnel.HostPort("other.example:9443")

// twoExits starts two exits, and returns a Way to both. The agent reaches the first alone, and
// the second once its address is set for otherExit.
func twoExits(t *testing.T) (w *fixture, n *network, first, second *exitServer) {
	t.Helper()
	p := newPKI(t)
	first, second = startExit(t, p, nil), startExit(t, p, nil)
	n = newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: first.addr})
	w = newWay(t, p, n, func(cfg *Config) {
		cfg.Exits.Targets = []tunnel.HostPort{theExit, otherExit}
		cfg.times.home, cfg.times.stable = 5*time.Millisecond, time.Millisecond
	})
	return w, n, first, second
}

// awaitAttempts waits until some more attempts to reach an exit were made.
func (n *network) awaitAttempts(t *testing.T) {
	t.Helper()
	asked, _ := n.attempts()
	waittest.Eventually(t, "more attempts at the exit that is gone", func() bool { now, _ := n.attempts(); return now > asked+3 })
}

// TestAnExitThatComesBack: a tunnel that had to go to another exit goes home when its own
// answers again, so that the tunnels are spread again, and what is known of the exits is true.
func TestAnExitThatComesBack(t *testing.T) {
	w, n, first, second := twoExits(t)
	w.filled(t)
	if second.connections() != 0 || first.connections() < 2 {
		t.Fatal("not all tunnels are with the exit that answers")
	}
	made := first.connections()
	n.awaitAttempts(t)
	if now := first.connections(); now != made {
		t.Errorf("the attempts have replaced %d tunnels that stand", now-made)
	}
	c := w.through(t)
	defer c.Close()
	n.set(otherExit, second.addr)
	waittest.Eventually(t, "a tunnel to the other exit", func() bool {
		is := w.Exits().Exits
		return is[0].Up && is[1].Up && is[1].Reason == ""
	})
	echo(t, c, "a connection from before")
	if _, plain := n.attempts(); plain != 0 {
		t.Error("a dial went without the exit, although one answers")
	}
}
