// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// dead is a shoot address whose dials hang.
var dead = netip.MustParseAddrPort("100.64.3.9:9100")

// turnHarness is a harness with several destinations. One of them is dead.
type turnHarness struct {
	*harness
	began        chan context.Context // one for each dial to dead that got a place
	release      chan struct{}        // makes one of them fail
	destinations chan netip.AddrPort
}

// startCrowd runs a Proxy with --max-dials 4, so that each destination may have one
// place.
func startCrowd(t *testing.T, live func(context.Context) (tunnel.Conn, error), change func(*Proxy)) *turnHarness {
	t.Helper()
	c := &turnHarness{began: make(chan context.Context, 100), release: make(chan struct{}, 100), destinations: make(chan netip.AddrPort)}
	dialer := dials(live)
	dialer.dial[dead] = func(ctx context.Context) (tunnel.Conn, error) {
		c.began <- ctx
		select {
		case <-c.release:
			return nil, &tunnel.Error{Reason: tunnel.ReasonTimeout, Server: server, Err: errors.New("i/o timeout")}
		case <-ctx.Done():
			return nil, &tunnel.Error{Reason: tunnel.ReasonCancelled, Server: server, Err: ctx.Err()}
		case <-time.After(hangGuard):
			return nil, errors.New("nobody ended this dial")
		}
	}
	c.harness = start(t, dialer, target, func(p *Proxy) {
		p.dials = newDialLimit(4, options.SettingNames().MaxDials)
		p.lookup = func(syscall.Conn) (netip.AddrPort, error) { return <-c.destinations, nil }
		if change != nil {
			change(p)
		}
	})
	return c
}

// connectTo returns an app's connection that was redirected from destination.
func (c *turnHarness) connectTo(destination netip.AddrPort) *net.TCPConn {
	c.t.Helper()
	app := c.connect()
	select {
	case c.destinations <- destination:
	case <-time.After(hangGuard):
		c.t.Fatal("the connection was not accepted")
	}
	return app
}

// waiting returns how many dials to dead have no place.
func (c *turnHarness) waiting() int {
	c.dials.mu.Lock()
	defer c.dials.mu.Unlock()
	if to := c.dials.destinations[dead]; to != nil {
		return to.waiting.Len()
	}
	return 0
}

func (c *turnHarness) wantWaiting(n int) {
	c.t.Helper()
	c.eventually("the dials wait for their turn", func() bool { return c.waiting() == n })
}

func TestOneDeadTargetDoesNotStarveTheOthers(t *testing.T) {
	lead, accept := tunnelTo(t)
	c := startCrowd(t, lead, nil)
	for range 20 {
		c.connectTo(dead)
	}
	<-c.began
	c.wantWaiting(19)
	for range 3 {
		app := c.connectTo(target)
		exchange(t, app, accept())
	}
	if n := len(c.began); n != 0 {
		t.Errorf("%d dials to one destination were let through, and only one is its share", n+1)
	}
	c.wantValue(0, "proxy_client_dial_failures_total", "reason", "max_dials")
}

func TestADialWithoutAPlaceEndsWithItsBudget(t *testing.T) {
	c := startCrowd(t, nil, nil)
	c.connectTo(dead)
	<-c.began
	c.cfg.DialTimeout = 20 * time.Millisecond // for the next dial
	app := c.connectTo(dead)
	wantReset(t, app)
	line := c.line("connection not made")
	if text, _ := line["error"].(string); line["reason"] != "max_dials" || line["level"] != "WARN" || !strings.Contains(text, "--max-dials") {
		t.Errorf("the log does not say that and why there was no place: %v", line)
	}
	c.wantValue(1, "proxy_client_dial_failures_total", "reason", "max_dials")
	c.wantValue(1, "proxy_client_connections_total", "result", "failed")
	c.wantWaiting(0)
}

func TestTheWaitForAPlaceIsPartOfTheBudget(t *testing.T) {
	c := startCrowd(t, nil, nil)
	c.connectTo(dead)
	<-c.began
	c.connectTo(dead)
	c.wantWaiting(1)
	latest := time.Now().Add(c.cfg.DialTimeout)
	c.release <- struct{}{}
	if deadline, ok := (<-c.began).Deadline(); !ok || deadline.After(latest) {
		t.Errorf("the dial may last until %s (%t): --dial-timeout, which began before %s, started afresh after the wait", deadline, ok, latest.Add(-c.cfg.DialTimeout))
	}
}

func TestAnAppThatGivesUpLeavesTheQueue(t *testing.T) {
	c := startCrowd(t, nil, nil)
	c.connectTo(dead)
	<-c.began
	app := c.connectTo(dead)
	c.wantWaiting(1)
	if err := relay.Reset(app); err != nil {
		t.Fatal(err)
	}
	if line := c.line("connection not made"); line["reason"] != "cancelled" || line["error"] != errAppGone.Error() {
		t.Errorf("the log does not say that the app gave up: %v", line)
	}
	c.wantWaiting(0)
}

// A dial that waits at SIGTERM belongs to an accepted connection. It gets a place
// during the drain, or a reset at its end.
func TestDialsThatWaitAreDrained(t *testing.T) {
	t.Run("within the drain", func(t *testing.T) {
		c := startCrowd(t, nil, nil)
		c.connectTo(dead)
		<-c.began
		c.connectTo(dead)
		c.wantWaiting(1)
		c.begin()
		c.wantRefused()
		c.release <- struct{}{}
		<-c.began
		c.release <- struct{}{}
		c.wait(nil)
		if line := c.line("drained"); line["reset"] != 0.0 {
			t.Errorf("nothing was left to reset, but the log says %v", line)
		}
	})
	t.Run("until its end", func(t *testing.T) {
		c := startCrowd(t, nil, nil)
		c.connectTo(dead)
		<-c.began
		app := c.connectTo(dead)
		c.wantWaiting(1)
		c.begin()
		c.Abort() // as the timeout would
		wantReset(t, app)
		c.wait(nil)
		c.wantValue(2, "proxy_client_dial_failures_total", "reason", "cancelled")
		c.wantValue(0, "proxy_client_dial_failures_total", "reason", "max_dials")
		if n := len(c.began); n != 0 {
			t.Errorf("%d dials began after the end", n)
		}
	})
}

// A dial that was given up may still run: it has an open file, and the agent tries to
// connect. Impatient apps must not make more of them than --max-dials.
func TestADialThatOutlivesItsAppKeepsItsPlace(t *testing.T) {
	ends := make(chan func(), 1)
	c := startCrowd(t, nil, func(p *Proxy) {
		dialer := p.cfg.Dialer.(*fakeDialer)
		dialer.dialed = func(ctx context.Context, destination netip.AddrPort, hold tunnel.Hold) {
			if destination == dead && errors.Is(ctx.Err(), context.Canceled) {
				ends <- hold()
			}
		}
	})
	app := c.connectTo(dead)
	<-c.began
	if err := relay.Reset(app); err != nil {
		t.Fatal(err)
	}
	end := <-ends
	c.line("connection not made")
	c.connectTo(dead)
	c.wantWaiting(1)
	if n := len(c.began); n != 0 {
		t.Errorf("%d dials more than the share of one destination are under way", n)
	}
	end()
	<-c.began
	c.release <- struct{}{}
}
