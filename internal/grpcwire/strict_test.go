// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var strictSeed = flag.Uint64("strict.seed", 0, "the seed of TestStrictPeer; 0 takes another each time")

// TestStrictPeer: thousands of messages on many streams come back complete. The server
// does at random everything that RFC 9113 allows, and finds no violation by the client.
// Only those streams end early that the server ends early.
func TestStrictPeer(t *testing.T) {
	seed := *strictSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-strict.seed=%d", seed)
	const workers, messages = 24, 3000
	var done atomic.Int64
	seen := map[string]int{}
	for round := uint64(0); done.Load() < messages && !t.Failed() && round < 100; round++ {
		strictRound(t, rand.New(rand.NewPCG(seed, round)), workers, &done, messages, seen)
	}
	t.Logf("%d messages, %v", done.Load(), seen)
	if done.Load() < messages {
		t.Errorf("%d messages came back, want %d", done.Load(), messages)
	}
	for _, kind := range []string{"settings", "pings", "trailers", "continuations", "negative windows", "ends of the client"} {
		if seen[kind] == 0 && !t.Failed() {
			t.Errorf("nothing was seen of %s", kind)
		}
	}
}

// strictRound runs one connection.
func strictRound(t *testing.T, random *rand.Rand, workers int, done *atomic.Int64, messages int64, seen map[string]int) {
	cfg := testConfig()
	cfg.StreamWindow, cfg.ConnectionWindow = 70_000, 200_000
	p, conn, wait := newStrictPeer(t, rand.New(rand.NewPCG(random.Uint64(), 1)), cfg)
	socket := NewSocket(conn)
	c := New(socket, socket, cfg)
	var running, working sync.WaitGroup
	running.Go(c.Run)
	if err := c.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
	for range workers {
		random := rand.New(rand.NewPCG(random.Uint64(), 2))
		working.Go(func() {
			for done.Load() < messages && !t.Failed() && strictCall(t, c, p, random, done) {
			}
		})
	}
	working.Wait()
	_ = c.Close()
	running.Wait()
	wait()
	for kind, n := range p.seen {
		seen[kind] += n
	}
}

// strictCall uses one stream. It returns false if the connection takes no more.
func strictCall(t *testing.T, c *Conn, p *strictPeer, random *rand.Rand, done *atomic.Int64) bool {
	e := &echoHandler{t: t, seed: random.IntN(100), all: 1 + random.IntN(12), done: make(chan struct{}), ended: make(chan error, 1)}
	s, err := c.Open(e)
	switch {
	case errors.Is(err, ErrFull):
		time.Sleep(time.Millisecond) // no event reports free space
		return true
	case err != nil:
		return false
	}
	e.finish = random.IntN(2) == 0
	e.stream.Store(s)
	id := s.wire.ID()
	for i := range e.all {
		m := e.message(i)
		if err := s.Send(m[:len(m)/2], m[len(m)/2:], random.IntN(2) == 0); err != nil {
			break
		}
	}
	_ = s.Send([]byte("no more"), nil, false)
	giveUp := (<-chan time.Time)(nil)
	if random.IntN(4) == 0 {
		giveUp = time.After(time.Duration(random.IntN(20)) * time.Millisecond)
	}
	select {
	case err = <-e.ended:
	case <-giveUp:
		s.Cancel()
		return true
	case <-time.After(2 * hangTimeout):
		t.Errorf("stream %d hangs", id)
		return false
	}
	p.mu.Lock()
	killed := p.streams[id] != nil && p.streams[id].ended || id > p.lastGood || p.over
	p.mu.Unlock()
	if err == io.EOF {
		done.Add(int64(e.all))
	} else if !killed {
		t.Errorf("stream %d ended with %v, and the server did not end it", id, err)
	}
	return true
}
