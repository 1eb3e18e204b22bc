// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// times are those of slots. Tests shorten them.
type times struct {
	// firstPause is the pause after an exit could not be reached. It doubles up to
	// lastPause.
	firstPause, lastPause time.Duration
	// age is how old a tunnel is when the next one takes its place. So a tunnel does not
	// stay with one agent and one server for ever, and an exit's own limit seldom ends it.
	age time.Duration
	// look is the pause between two looks at the TLS files.
	look time.Duration
	// home is the pause between two attempts of a slot at its own exit, while its tunnel goes
	// to another.
	home time.Duration
	// stable is how long a tunnel lasts if nothing is wrong. One that breaks sooner makes
	// the next one wait: see settle.
	stable time.Duration
	// settle is how long a tunnel must last until dials use it, after one that was not
	// stable. It doubles with each such tunnel, up to lastSettle. So an exit that accepts
	// tunnels and breaks them does not make dials change their way all the time.
	settle, lastSettle time.Duration
	// tell is the shortest time between two log lines that say that an exit does not answer.
	tell time.Duration
}

func (t times) withDefaults() times {
	for _, d := range []struct {
		at *time.Duration
		is time.Duration
	}{
		{&t.firstPause, 250 * time.Millisecond},
		{&t.lastPause, 10 * time.Second},
		{&t.age, time.Hour},
		{&t.look, time.Minute},
		{&t.home, time.Minute},
		{&t.stable, time.Minute},
		{&t.settle, time.Second},
		{&t.lastSettle, time.Minute},
		{&t.tell, time.Minute},
	} {
		if *d.at == 0 {
			*d.at = d.is
		}
	}
	return t
}

// mostReplaced is how many tunnels may be open that were replaced. Each has streams that
// last. If there are so many, age replaces no more tunnels.
const mostReplaced = 16

// accidents is how many tunnels in a row may break soon until the next one has to settle.
const accidents = 1

// slot keeps one tunnel open.
type slot struct {
	way *Way

	// Guarded by Way.mu:
	current *exitTunnel // nil before the first
	trying  *exit       // to which an attempt is under way; nil if there is none
	began   time.Time   // when that attempt began, or the last one

	// Used only by run:
	own      int // index of the exit to which its tunnel goes if all answer
	next     int // index of the exit to try next
	failures int // attempts in a row that failed, or made a tunnel that was not stable
	unstable int // tunnels in a row that were not stable
}

// run keeps a tunnel open until ctx ends.
func (s *slot) run(ctx context.Context) error {
	for {
		t, err := s.make(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.failed(ctx, err)
			continue
		}
		if s.unstable == 0 {
			s.failures = 0
		}
		for t != nil {
			s.way.install(s, t)
			t, err = s.keep(ctx, t)
		}
		if err != nil {
			s.unstable++
			if s.unstable > accidents || err.Fault.Lasting() {
				s.failed(ctx, err)
			}
		}
	}
}

// make opens a tunnel to the exit that is next in turn. If the tunnels before were not
// stable, it waits until this one has settled.
func (s *slot) make(ctx context.Context) (*exitTunnel, *tunnel.Error) {
	w := s.way
	e := w.exits[s.next%len(w.exits)]
	w.begin(s, e)
	t, err := w.open(ctx, e)
	if err != nil || s.unstable <= accidents || w.cfg.Exits.Required {
		return t, err
	}
	w.lacks(s, e, t.failed(seeExit, "the tunnel before ended soon, and the new one has to last for a while"))
	select {
	case <-time.After(doubled(w.cfg.times.settle, s.unstable-accidents, w.cfg.times.lastSettle)):
		return t, nil
	case <-ctx.Done():
	case <-t.drains:
	case <-t.over:
	}
	w.dismiss(t)
	s.unstable++
	return nil, t.failed(seeExit, "the tunnel ended again soon")
}

// failed notes an attempt that failed, and waits until the next one.
func (s *slot) failed(ctx context.Context, err *tunnel.Error) {
	w := s.way
	w.lacks(s, w.exits[s.next%len(w.exits)], err)
	s.failures++
	s.next++
	if s.failures%len(w.exits) != 0 {
		return // another exit may answer
	}
	rounds := s.failures / len(w.exits)
	pause.For(ctx, w.jittered(doubled(w.cfg.times.firstPause, rounds-1, w.cfg.times.lastPause)))
}

// keep returns when another tunnel has to take the place of t. It returns that tunnel if it
// has made it already, and an error if t did not last.
func (s *slot) keep(ctx context.Context, t *exitTunnel) (*exitTunnel, *tunnel.Error) {
	w := s.way
	old := time.NewTimer(w.jittered(w.cfg.times.age))
	defer old.Stop()
	look := time.NewTicker(w.cfg.times.look)
	defer look.Stop()
	home := time.NewTimer(w.jittered(w.cfg.times.home))
	defer home.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case <-t.drains:
		case <-t.over:
		case <-old.C:
			if w.mayReplace() {
				return nil, nil
			}
			old.Reset(w.jittered(w.cfg.times.age))
			continue
		case <-look.C:
			if w.files.Version() != t.version && w.mayReplace() {
				return nil, nil
			}
			continue
		case <-home.C:
			if next := s.goHome(ctx, t); next != nil {
				return next, nil
			}
			home.Reset(w.jittered(w.cfg.times.home))
			continue
		}
		if none := w.whyNone(t); none != nil {
			return nil, none
		}
		if time.Since(t.opened) >= w.cfg.times.stable {
			s.unstable = 0
			return nil, nil
		}
		return nil, t.failed(seeExit, "the tunnel ended after %s: %w", time.Since(t.opened).Round(time.Millisecond), t.whyOver())
	}
}

// goHome returns a tunnel to the slot's own exit, if t goes to another and that one answers
// again. The attempt ends with t.
func (s *slot) goHome(ctx context.Context, t *exitTunnel) *exitTunnel {
	w := s.way
	own := w.exits[s.own]
	if t.target == own.target || time.Since(t.opened) < w.cfg.times.stable || !w.mayReplace() {
		return nil
	}
	s.unstable = 0
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		defer cancel()
		select {
		case <-t.drains:
		case <-t.over:
		case <-ctx.Done():
		}
	})
	w.begin(s, own)
	next, err := w.open(ctx, own)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil // which says nothing about the exit
	default:
		w.lacks(s, own, err)
		return nil
	}
	s.next = s.own
	return next
}

// whyOver returns why t has ended, or takes no more streams.
func (t *exitTunnel) whyOver() error {
	if err := t.session.Err(); err != nil {
		return err
	}
	return errDrains
}

var errDrains = errors.New("the exit takes no more connections on it")

// doubled returns d, doubled n times, and most at most.
func doubled(d time.Duration, n int, most time.Duration) time.Duration {
	for range n {
		if d = 2 * d; d >= most {
			return most
		}
	}
	return min(d, most)
}

// jittered returns a duration between 80 and 100 percent of d, so that many sidecars do not
// act together.
func (w *Way) jittered(d time.Duration) time.Duration {
	return d - time.Duration(w.cfg.random()*float64(d)/5)
}
