// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// liveSet is a set of connections on which bytes are exchanged a few times a second.
type liveSet struct {
	conns []*liveConn
	stop  chan struct{}
	tasks sync.WaitGroup
	ended atomic.Int64
}

type liveConn struct {
	conn  net.Conn
	ended time.Time
	err   error // io.EOF after a clean end; nil while it works
}

// startLive opens connections to echo targets in all of the shoot. Each connection has
// worked once when startLive returns.
func (r *rig) startLive(t *testing.T, n int) *liveSet {
	t.Helper()
	return r.startSet(t, n, (*liveConn).talk)
}

// startQuiet opens connections on which no more bytes are sent.
func (r *rig) startQuiet(t *testing.T, n int) *liveSet {
	t.Helper()
	return r.startSet(t, n, (*liveConn).listen)
}

func (r *rig) startSet(t *testing.T, n int, live func(c *liveConn, i int, stop <-chan struct{}) error) *liveSet {
	t.Helper()
	s := &liveSet{stop: make(chan struct{})}
	t.Cleanup(s.finish)
	ctx := labtest.Context(t, 2*time.Minute)
	for i := range n {
		conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, 1+i%lab.PodAddresses), target.EchoPort)
		if err != nil {
			t.Fatal(err)
		}
		c := &liveConn{conn: conn}
		s.conns = append(s.conns, c)
		if err := exchange(conn, []byte("first")); err != nil {
			t.Fatalf("live connection %d does not work: %v", i, err)
		}
		s.tasks.Go(func() {
			if c.err = live(c, i, s.stop); c.err != nil {
				c.ended = time.Now()
				s.ended.Add(1)
			}
		})
	}
	return s
}

func (c *liveConn) talk(i int, stop <-chan struct{}) error {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		case <-time.After(400 * time.Millisecond): // the pace of the load
		}
		if err := exchange(c.conn, fmt.Appendf(nil, "connection %d says %d for the first time", i, n)); err != nil {
			return err
		}
	}
}

func (c *liveConn) listen(_ int, stop <-chan struct{}) error {
	ended := make(chan error, 1)
	go func() {
		_, err := c.conn.Read(make([]byte, 1))
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-stop:
	}
	_ = c.conn.SetReadDeadline(time.Now())
	err := <-ended
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return c.conn.SetReadDeadline(time.Now().Add(hang))
}

// await waits until this many connections have ended.
func (s *liveSet) await(t *testing.T, n int, limit time.Duration) {
	t.Helper()
	err := lab.Poll(labtest.Context(t, limit), "live connections to end", func(context.Context) error {
		if got := s.ended.Load(); got < int64(n) {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// finish ends the connections that are left in the set.
func (s *liveSet) finish() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.tasks.Wait()
	for _, c := range s.conns {
		_ = c.conn.Close()
	}
}

// wantEnded expects that this many connections ended, each with that error. If the error
// is nil, they may end cleanly or with a reset. All others must still work.
func (s *liveSet) wantEnded(t *testing.T, want int, since time.Time, how error) {
	t.Helper()
	close(s.stop)
	s.tasks.Wait()
	ended, worst, ways := 0, time.Duration(0), map[string]int{}
	for i, c := range s.conns {
		switch {
		case c.err == nil:
			if err := exchange(c.conn, []byte("last")); err != nil {
				t.Errorf("live connection %d no longer works: %v", i, err)
			}
			continue
		case how != nil && !errors.Is(c.err, how):
			t.Errorf("live connection %d ended with %v, want %v", i, c.err, how)
		}
		ended++
		worst = max(worst, c.ended.Sub(since))
		ways[reasonOf(c.err)]++
	}
	t.Logf("%d of %d live connections ended, the last after %s: %v", ended, len(s.conns), worst.Round(time.Millisecond), ways)
	if ended != want {
		t.Errorf("%d live connections ended, want exactly the %d that had to", ended, want)
	}
}

// attempt is one new connection to a target that sends its banner and closes.
type attempt struct {
	start time.Time
	took  time.Duration
	got   int   // bytes of the banner
	err   error // nil after a clean end
}

func (a attempt) whole() bool  { return a.err == nil && a.got == len(target.Banner) }
func (a attempt) silent() bool { return a.err == nil && a.got != len(target.Banner) }

// freshLoad opens new connections at a steady pace.
type freshLoad struct {
	stop     chan struct{}
	tasks    sync.WaitGroup
	started  atomic.Int64
	mu       sync.Mutex
	attempts []attempt
	open     map[int64]time.Time // start times of the attempts under way, by their numbers
}

func (r *rig) startFresh(t *testing.T) *freshLoad {
	t.Helper()
	f := &freshLoad{stop: make(chan struct{}), open: map[int64]time.Time{}}
	ctx := labtest.Context(t, 2*time.Minute)
	f.tasks.Go(func() {
		ticker := time.NewTicker(newEach)
		defer ticker.Stop()
		for {
			select {
			case <-f.stop:
				return
			case <-ticker.C:
			}
			n := f.started.Add(1)
			addr := lab.ShootPod(lab.IPv4, 1+int(n)%lab.PodAddresses)
			a := attempt{start: time.Now()}
			f.mu.Lock()
			f.open[n] = a.start
			f.mu.Unlock()
			f.tasks.Go(func() {
				conn, err := r.dial(ctx, addr, target.SpeakFirstPort)
				if err == nil {
					var got []byte
					got, err = io.ReadAll(conn)
					a.got = len(got)
					_ = conn.Close()
				}
				a.took, a.err = time.Since(a.start), err
				f.mu.Lock()
				defer f.mu.Unlock()
				f.attempts = append(f.attempts, a)
				delete(f.open, n)
			})
		}
	})
	t.Cleanup(f.halt)
	return f
}

// await waits until this many more connections have been started.
func (f *freshLoad) await(t *testing.T, n int64) {
	t.Helper()
	want := f.started.Load() + n
	err := lab.Poll(labtest.Context(t, hang), "new connections to be started", func(context.Context) error {
		if got := f.started.Load(); got < want {
			return fmt.Errorf("%d of %d", got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *freshLoad) halt() {
	f.pause()
	f.tasks.Wait()
}

// pause stops the start of new connections.
func (f *freshLoad) pause() {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
}

// settle stops the load and waits for the end of all connections that began after a
// fault. A connection from before the fault may have to wait until the fault is over.
func (f *freshLoad) settle(t *testing.T, fault time.Time) {
	t.Helper()
	f.pause()
	eventually(t, "the end of the new connections", func(context.Context) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for n, begun := range f.open {
			if begun.After(fault) {
				return fmt.Errorf("number %d, begun %s after the fault, is under way", n, begun.Sub(fault))
			}
		}
		return nil
	})
}

// end stops the load and returns all attempts, in the order of their start.
func (f *freshLoad) end(t *testing.T) []attempt {
	t.Helper()
	f.halt()
	slices.SortFunc(f.attempts, func(a, b attempt) int { return a.start.Compare(b.start) })
	return f.attempts
}

// wantShortOutage expects that all failed connections were started within the outage that
// the product promises. There are no more of them than the load starts in that time. None
// starts long after the first.
func wantShortOutage(t *testing.T, attempts []attempt) {
	t.Helper()
	var failed []attempt
	ways := map[string]int{}
	for _, a := range attempts {
		if !a.whole() {
			failed = append(failed, a)
			ways[reasonOf(a.err)]++
		}
	}
	if len(failed) == 0 {
		t.Logf("none of %d new connections failed", len(attempts))
		return
	}
	span := failed[len(failed)-1].start.Sub(failed[0].start)
	t.Logf("%d of %d new connections failed, begun within %s (promised: %s): %v", len(failed), len(attempts), span.Round(time.Millisecond), outage, ways)
	if most := int(outage / newEach); len(failed) > most || span > outageGuard {
		t.Errorf("%d new connections failed over %s: more than the %d of one second", len(failed), span, most)
	}
}

// wantNoneSilent expects that no incomplete connection ended as if it were complete.
func wantNoneSilent(t *testing.T, attempts []attempt) {
	t.Helper()
	for _, a := range attempts {
		if a.silent() {
			t.Errorf("a new connection ended cleanly with %d of %d bytes: its app takes that for the whole answer", a.got, len(target.Banner))
		}
	}
}

// logSlowest logs how long new connections took around a fault.
func logSlowest(t *testing.T, attempts []attempt, fault time.Time) {
	t.Helper()
	var before, after []time.Duration
	slow := 0
	for _, a := range attempts {
		if a.start.Before(fault) {
			before = append(before, a.took)
			continue
		}
		after = append(after, a.took)
		if a.took > time.Second {
			slow++
		}
	}
	for _, d := range [][]time.Duration{before, after} {
		slices.SortFunc(d, cmp.Compare)
	}
	t.Logf("a new connection took %s before (median), %s after, at worst %s before and %s after; %d took more than a second",
		median(before), median(after), last(before), last(after), slow)
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return d[len(d)/2].Round(time.Millisecond)
}

func last(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return d[len(d)-1].Round(time.Millisecond)
}

// reasonOf returns an error's cause, without addresses.
func reasonOf(err error) string {
	if err == nil {
		return "clean end, incomplete"
	}
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}
