// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// dialFunc opens a connection to a target in the shoot. It does so as an app does,
// through the sidecar, or with one of the stock clients.
type dialFunc func(ctx context.Context, addr netip.Addr, port int) (net.Conn, error)

// asApp is the dialFunc of an app in the pod.
func (r *rig) asApp(ctx context.Context, addr netip.Addr, port int) (net.Conn, error) {
	conn, err := r.dial(ctx, addr, port)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// pulse measures round trips of one byte on one connection until stopped.
type pulse struct {
	stop, done chan struct{}

	mu    sync.Mutex
	rtts  []time.Duration
	since time.Time     // when the round trip under way began; zero if there is none
	ended chan struct{} // closed at the end of the round trip under way, or of the next
	err   error
}

// startPulse starts a pulse. It returns after enough round trips that the connection is
// in its ordinary state.
func startPulse(t testing.TB, dial dialFunc) *pulse {
	t.Helper()
	conn, err := dial(labtest.Context(t, 10*time.Minute), lab.ShootPod(lab.IPv4, 1), target.EchoPort)
	if err != nil {
		t.Fatal(err)
	}
	p := &pulse{stop: make(chan struct{}), done: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer conn.Close()
		var b [1]byte
		for {
			select {
			case <-p.stop:
				return
			case <-time.After(2 * time.Millisecond): // the rate of the measurement
			}
			p.begin()
			_, err := conn.Write(b[:])
			if err == nil {
				_, err = io.ReadFull(conn, b[:])
			}
			if !p.end(err) {
				return
			}
		}
	}()
	err = lab.Poll(labtest.Context(t, hang), "round trips", func(context.Context) error {
		if p.mu.Lock(); len(p.rtts) < 100 && p.err == nil {
			defer p.mu.Unlock()
			return fmt.Errorf("%d of 100", len(p.rtts))
		}
		p.mu.Unlock()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pulse) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Now()
}

// end reports whether to go on.
func (p *pulse) end(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rtts = append(p.rtts, time.Since(p.since))
	p.since, p.err = time.Time{}, err
	close(p.ended)
	p.ended = make(chan struct{})
	return err == nil
}

// rounds returns how many round trips have ended.
func (p *pulse) rounds() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.rtts)
}

// awaitRound waits until a round trip that began after the call has ended.
func (p *pulse) awaitRound(ctx context.Context) error {
	for range 2 { // the first may have been under way
		p.mu.Lock()
		ended := p.ended
		p.mu.Unlock()
		select {
		case <-ended:
		case <-p.done:
			return errors.New("the connection beside it has ended")
		case <-ctx.Done():
			return fmt.Errorf("the connection beside it stands still: %w", ctx.Err())
		}
	}
	return nil
}

// worst returns the longest round trip so far, including the one under way.
func (p *pulse) worst() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	worst := slices.Max(p.rtts)
	if !p.since.IsZero() {
		worst = max(worst, time.Since(p.since))
	}
	return worst
}

// forget discards what was measured so far.
func (p *pulse) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rtts = p.rtts[len(p.rtts)-1:]
}

// figures are what a pulse has measured.
type figures struct {
	n               int
	p50, p99, worst time.Duration
}

func (f figures) String() string {
	return fmt.Sprintf("%d round trips, p50 %s, p99 %s, worst %s", f.n, f.p50, f.p99, f.worst)
}

func figuresOf(rtts []time.Duration) figures {
	sorted := slices.Sorted(slices.Values(rtts))
	n := len(sorted)
	return figures{n: n, p50: sorted[n/2], p99: sorted[n*99/100], worst: sorted[n-1]}
}

func (p *pulse) figures() figures {
	p.mu.Lock()
	defer p.mu.Unlock()
	return figuresOf(p.rtts)
}

// take returns what was measured so far, and forgets it.
func (p *pulse) take() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.rtts
	p.rtts = p.rtts[len(p.rtts)-1:]
	return taken
}

// wantAlive ends the pulse, and fails if its connection broke. It only logs how long
// round trips took: a busy machine must not decide a test.
func (p *pulse) wantAlive(t testing.TB, beside string) {
	t.Helper()
	close(p.stop)
	<-p.done
	if p.err != nil {
		t.Errorf("beside %s another connection broke: %v", beside, p.err)
	}
	t.Logf("beside %s: %s", beside, p.figures())
}
