// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

const theExit = tunnel.HostPort("exit.example:9443")

var target = netip.MustParseAddrPort("100.64.3.7:9100")

// quick are times for tests.
var quick = times{firstPause: 5 * time.Millisecond, lastPause: 20 * time.Millisecond, look: 5 * time.Millisecond, settle: 10 * time.Millisecond}

// fixture is a Way under test.
type fixture struct {
	*Way
	log     *logtest.Buffer
	network *network
}

// newWay returns a Way that runs.
func newWay(t testing.TB, p *pki, n *network, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{log: &logtest.Buffer{}, network: n}
	cfg := Config{
		Exits: tunnel.Exits{Targets: []tunnel.HostPort{theExit}, TLS: p.files()}, Names: options.SettingNames(), Outer: n, DialTimeout: hang,
		Logger: f.log.Logger(slog.LevelDebug), Metrics: NewMetrics(prometheus.NewRegistry()),
		times: quick, random: func() float64 { return 0 },
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	f.Way, err = New(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
		must(t, f.Close())
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.tunnels) != 0 {
			t.Errorf("%d tunnels are left", len(f.tunnels))
		}
	})
	return f
}

func (f *fixture) dial(t testing.TB) (tunnel.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	return f.DialContext(ctx, target, nil)
}

// filled waits until each slot has a tunnel.
func (f *fixture) filled(t testing.TB) {
	t.Helper()
	waittest.Eventually(t, "a tunnel in each slot", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, s := range f.slots {
			if s.current == nil || !s.current.stands() {
				return false
			}
		}
		return true
	})
}

// through dials through an exit.
func (f *fixture) through(t testing.TB) tunnel.Carrier {
	t.Helper()
	conn, err := f.dial(t)
	must(t, err)
	if tunnel.ExitOf(conn) != string(theExit) {
		t.Fatalf("the connection goes through %q, want the exit", tunnel.ExitOf(conn))
	}
	return conn.(tunnel.Carrier)
}

// echo sends a text, and expects to get it back.
func echo(t testing.TB, c tunnel.Conn, text string) {
	t.Helper()
	must(t, c.Send([]byte(text)))
	var got string
	for len(got) < len(text) {
		p, err := c.Receive()
		must(t, err)
		got += string(p)
	}
	if got != text {
		t.Fatalf("got %q back, want %q", got, text)
	}
}

func TestThroughAnExit(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, nil)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
	c := newWay(t, p, n, nil).through(t)
	defer c.Close()
	if want := (tunnel.Traits{Backpressure: true, HalfClose: true, Resets: true}); tunnel.TraitsOf(c) != want {
		t.Errorf("the traits are %+v, want all", tunnel.TraitsOf(c))
	}
	if c.Server() != "server" || tunnel.IDsOf(c) != (tunnel.IDs{Dial: 7}) {
		t.Errorf("through %q with %+v, want those of the tunnel", c.Server(), tunnel.IDsOf(c))
	}
	echo(t, c, "a question")
	must(t, c.CloseWrite())
	if got, err := c.Receive(); err != io.EOF {
		t.Errorf("after the half-close: %q, %v", got, err)
	}
	if asked, names := e.asked, e.clientNames(); len(asked) != 1 || asked[0] != target.String() || names[0] != "client" {
		t.Errorf("the exit was asked for %q by %q", asked, names)
	}
}

// TestRefusal: what an exit says about a target is final, and never gone around.
func TestRefusal(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, func(e *exitServer) {
		e.refuse = func(w http.ResponseWriter, _ string) bool {
			w.Header().Set("Proxy-Status", "exit; error=destination_ip_prohibited; details=\"no rule\"")
			w.WriteHeader(http.StatusForbidden)
			return true
		}
	})
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
	_, err := newWay(t, p, n, nil).dial(t)
	failed, ok := errors.AsType[*tunnel.Error](err)
	if !ok || failed.Reason != tunnel.ReasonForbidden || failed.Fault != tunnel.FaultTarget || failed.Server != "server" {
		t.Errorf("got %+v, want the reason forbidden", err)
	}
	if _, plain := n.attempts(); plain != 0 {
		t.Error("a forbidden target was dialled without the exit")
	}
}

// TestTheAppGivesUp: the exit learns it at once, by a reset of the stream.
func TestTheAppGivesUp(t *testing.T) {
	p := newPKI(t)
	asked, given := make(chan struct{}), make(chan struct{})
	e := startExit(t, p, func(e *exitServer) {
		e.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(asked)
			<-r.Context().Done()
			close(given)
		})
	})
	w := newWay(t, p, newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr}), nil)
	ctx, giveUp := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := w.DialContext(ctx, target, nil)
		failed <- err
	}()
	waittest.Await(t, asked, "the dial at the exit")
	giveUp()
	if err := waittest.Await(t, failed, "the dial's end"); tunnel.ReasonOf(err) != tunnel.ReasonCancelled {
		t.Errorf("reason %s (%v), want cancelled", tunnel.ReasonOf(err), err)
	}
	waittest.Await(t, given, "the reset at the exit")
}
