// SPDX-License-Identifier: Apache-2.0

package spare

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// spareAge is how long a spare connection waits to be used. It is also the longest
	// pause between two dials after which a spare is kept for the next. The server
	// closes a connection without a request after 60 s (ReadHeaderTimeout).
	spareAge = 45 * time.Second
	// maxSpares is how many spares an endpoint has at most. The open files may allow
	// fewer: one for each filesPerSpare files that the process may have.
	maxSpares     = 8
	filesPerSpare = 128
	// sparesAtOnce is how many spares are made at the same time. A dial that is under
	// way comes first.
	sparesAtOnce = 4
)

// Pool has spare connections to an endpoint. Their TLS handshake is done before a dial
// needs them.
//
// There are as many as dials in quick succession have lacked, and none for an endpoint
// that is dialled less than once in spareAge. The youngest is used first. So spares
// that are no longer needed grow old, are closed and are not replaced. Without dials
// there are no spares and no handshakes.
//
// Spare connections do not count as load, and a failed spare does not mark the endpoint
// as bad. A dial that gets no spare, or a dead one, makes a connection of its own.
type Pool struct {
	endpoint *serverconn.Endpoint
	owner    Owner
	shared   *Shared
	most     int

	mu      sync.Mutex // guards the fields below
	closed  bool
	last    time.Time // when the last dial began
	want    int
	ready   []*Spare // oldest first
	making  int
	waiting []chan *Spare // dials that wait for a spare that is being made
	timer   *time.Timer   // ends the oldest spare; nil if there is none
}

// Spare is one spare connection.
type Spare struct {
	// Conn is the connection. Nothing was sent on it.
	Conn *serverconn.Conn

	files int // version of the TLS files
	made  time.Time
}

// New returns a Pool for an endpoint, which owner judges.
func New(endpoint *serverconn.Endpoint, owner Owner, shared *Shared) *Pool {
	s := &Pool{endpoint: endpoint, owner: owner, shared: shared}
	if endpoint.Server.Network != tunnel.NetworkUnix { // a Unix socket has no handshake to save
		s.most = shared.Most
	}
	return s
}

// Affordable returns how many spares an endpoint may have in this process.
func Affordable() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(maxSpares, limit.Cur/filesPerSpare))
}

// Take returns a spare for a dial, or nil if the dial has to make a connection of its
// own. If a spare is being made that would be ready sooner, Take waits for it while ctx
// lasts.
func (s *Pool) Take(ctx context.Context) *Spare {
	if s.most == 0 {
		return nil
	}
	files, now := s.shared.Files(), time.Now()
	s.mu.Lock()
	soon := now.Sub(s.last) < spareAge
	s.last = now
	for len(s.ready) > 0 {
		youngest := len(s.ready) - 1
		c := s.ready[youngest]
		s.ready = s.ready[:youngest]
		s.mu.Unlock()
		if c.usable(files, now) {
			s.Replenish()
			return c
		}
		s.end(c)
		s.mu.Lock()
	}
	if soon && s.want < s.most {
		s.want++
	}
	if s.making <= len(s.waiting) {
		s.mu.Unlock()
		return nil
	}
	wait := make(chan *Spare, 1)
	s.waiting = append(s.waiting, wait)
	s.mu.Unlock()
	select {
	case c := <-wait:
		if c != nil && c.files != files { // the files changed while the spare was made
			s.end(c)
			return nil
		}
		return c
	case <-ctx.Done():
		s.leave(wait)
		return nil
	}
}

// leave ends the wait for a spare.
func (s *Pool) leave(wait chan *Spare) {
	s.mu.Lock()
	if i := slices.Index(s.waiting, wait); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	if c := <-wait; c != nil {
		s.put(c)
	}
}

// Replenish starts to make the spares that are missing. A dial calls it after its own
// handshake, which the handshakes of spares must not delay.
func (s *Pool) Replenish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && s.making < sparesAtOnce && s.making-len(s.waiting)+len(s.ready) < s.want {
		s.making++
		s.shared.Background.Go(s.make)
	}
}

// make makes one spare, for the first dial that waits or for later.
func (s *Pool) make() {
	c := &Spare{files: s.shared.Files(), made: time.Now()}
	ctx, cancel := context.WithTimeout(s.owner.Gone(), serverconn.CheckTimeout)
	defer cancel()
	conn, alpn, err := s.owner.Connect(ctx)
	if err == nil && alpn == serverconn.ALPNHTTP2 { // another mode, which a check finds out
		_ = conn.Close()
	}
	if err != nil || alpn == serverconn.ALPNHTTP2 {
		c = nil
	} else {
		c.Conn = s.endpoint.NewConn(conn)
	}
	s.mu.Lock()
	s.making--
	if c == nil {
		s.want = 0
	}
	s.mu.Unlock()
	s.put(c)
	s.Replenish()
}

// put hands c to a dial that waits, or keeps it. put(nil) reports that making a spare
// failed. It wakes a waiter only if no other spare is being made for it. The caller
// does not hold mu.
func (s *Pool) put(c *Spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c == nil && len(s.waiting) <= s.making:
	case len(s.waiting) > 0:
		s.waiting[0] <- c
		s.waiting = s.waiting[1:]
	case c == nil:
	case s.closed, len(s.ready) >= s.want:
		s.end(c)
	default:
		s.ready = append(s.ready, c)
		s.expectExpiry()
	}
}

// expectExpiry starts the timer for the oldest spare. The caller holds mu.
func (s *Pool) expectExpiry() {
	if s.timer == nil && len(s.ready) > 0 {
		s.timer = time.AfterFunc(time.Until(s.ready[0].made.Add(spareAge)), s.expire)
	}
}

// expire closes the spares that have waited for too long.
func (s *Pool) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = nil
	now := time.Now()
	for len(s.ready) > 0 && now.Sub(s.ready[0].made) >= spareAge {
		s.end(s.ready[0])
		s.ready = s.ready[1:]
		s.want = max(0, s.want-1)
	}
	if !s.closed {
		s.expectExpiry()
	}
}

// Drop closes all spares. Others are made only after further dials.
func (s *Pool) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.ready {
		s.end(c)
	}
	s.ready, s.want = nil, 0
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// Close is Drop, and no spare is made afterwards.
func (s *Pool) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.Drop()
}

// usable reports whether c can be used, as far as is known without a request.
func (c *Spare) usable(files int, now time.Time) bool {
	if c.files != files || now.Sub(c.made) >= spareAge {
		return false
	}
	// crypto/tls answers key updates in Read. A server that does not read must not
	// delay a dial by that.
	_ = c.Conn.Conn.SetWriteDeadline(now)
	defer c.Conn.Conn.SetWriteDeadline(time.Time{}) //nolint:errcheck // it is closed then
	return c.Conn.Poll()
}

// end ends c, on which nothing was sent.
func (s *Pool) end(c *Spare) { s.shared.Part(c.Conn.Conn) }

// Counts returns how many spare connections there are, and how many dials wait for one
// that is being made.
func (s *Pool) Counts() (ready, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ready), len(s.waiting)
}
