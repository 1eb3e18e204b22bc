// SPDX-License-Identifier: Apache-2.0

package connectmode

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
	// spareAge is how long a ready-made connection waits to be used, and how close
	// to each other dials must be for one to wait for the next. The server closes a
	// connection without a request after 60 s (ReadHeaderTimeout).
	spareAge = 45 * time.Second
	// mostSpares are kept for one endpoint at most, and as many as the open files
	// allow: one of spareFiles that the process may have.
	mostSpares = 8
	spareFiles = 128
	// sparesAtOnce is how many of them are made at the same time: a dial that is
	// under way comes first.
	sparesAtOnce = 4
)

// spares are connections to an endpoint in http-connect mode that have their TLS
// handshake behind them, for the dials to come.
//
// As many are kept as dials in quick succession have lacked, so there is none
// for an endpoint that is dialled less than once in spareAge. The youngest is
// used first: what many dials needed once and nobody needs any more grows old, is
// closed and not replaced. At rest there are none, and no handshakes.
//
// They are no load, and what becomes of them is held against nobody: a dial that
// gets none, or one that turns out to be dead, makes a connection of its own.
type spares struct {
	endpoint *Dialer
	most     int

	mu      sync.Mutex // guards what follows
	closed  bool
	last    time.Time // the last dial
	want    int
	ready   []*spare // the oldest first
	making  int
	waiting []chan *spare // dials for which those in the making are meant
	timer   *time.Timer   // expires the oldest; nil where there is none
}

// spare is one of them.
type spare struct {
	arriving *serverconn.Conn
	files    int // version of the TLS files
	made     time.Time
}

func newSpares(e *Dialer) *spares {
	s := &spares{endpoint: e}
	if e.Server.Network != tunnel.NetworkUnix { // where there is no handshake
		s.most = e.shared.MostSpares
	}
	return s
}

// AffordableSpares is how many an endpoint may have in this process.
func AffordableSpares() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(mostSpares, limit.Cur/spareFiles))
}

// take returns a connection for a dial, or nil where it has to make its own.
// It waits, while ctx lasts, for one that will be ready sooner than that.
func (s *spares) take(ctx context.Context) *spare {
	if s.most == 0 {
		return nil
	}
	files, now := s.endpoint.shared.Files(), time.Now()
	s.mu.Lock()
	soon := now.Sub(s.last) < spareAge
	s.last = now
	for len(s.ready) > 0 {
		youngest := len(s.ready) - 1
		c := s.ready[youngest]
		s.ready = s.ready[:youngest]
		s.mu.Unlock()
		if c.usable(files, now) {
			s.replenish()
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
	wait := make(chan *spare, 1)
	s.waiting = append(s.waiting, wait)
	s.mu.Unlock()
	select {
	case c := <-wait:
		if c != nil && c.files != files { // they changed while it was being made
			s.end(c)
			return nil
		}
		return c
	case <-ctx.Done():
		s.leave(wait)
		return nil
	}
}

// leave ends a wait.
func (s *spares) leave(wait chan *spare) {
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

// replenish makes what is missing. Call it when a dial is done with its own
// handshake: those that are made ahead must not hold up the others.
func (s *spares) replenish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && s.making < sparesAtOnce && s.making-len(s.waiting)+len(s.ready) < s.want {
		s.making++
		s.endpoint.shared.Background.Go(s.make)
	}
}

// make makes one, for the first dial that waits or for later.
func (s *spares) make() {
	e := s.endpoint
	c := &spare{files: e.shared.Files(), made: time.Now()}
	ctx, cancel := context.WithTimeout(e.owner.Gone(), serverconn.CheckTimeout)
	defer cancel()
	conn, alpn, err := e.owner.NewConnection(ctx)
	if err == nil && alpn == serverconn.ALPNHTTP2 { // another frontend: for a look to find out
		_ = conn.Close()
	}
	if err != nil || alpn == serverconn.ALPNHTTP2 {
		c = nil
	} else {
		c.arriving = e.NewConn(conn)
	}
	s.mu.Lock()
	s.making--
	if c == nil {
		s.want = 0
	}
	s.mu.Unlock()
	s.put(c)
	s.replenish()
}

// put hands c to a dial that waits, or keeps it. Nil is the bad news that there
// is none, for a dial that waits for no other.
func (s *spares) put(c *spare) {
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

// expectExpiry starts the timer for the oldest.
func (s *spares) expectExpiry() {
	if s.timer == nil && len(s.ready) > 0 {
		s.timer = time.AfterFunc(time.Until(s.ready[0].made.Add(spareAge)), s.expire)
	}
}

// expire closes those that have waited for too long.
func (s *spares) expire() {
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

// drop closes all of them. Dials have to come for there to be others.
func (s *spares) drop() {
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

// close is drop, for good.
func (s *spares) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.drop()
}

// usable reports whether c can be used, as far as is known without asking.
func (c *spare) usable(files int, now time.Time) bool {
	if c.files != files || now.Sub(c.made) >= spareAge {
		return false
	}
	// crypto/tls answers updates of keys where it reads, and a server that does not
	// read must not hold up a dial.
	_ = c.arriving.Conn.SetWriteDeadline(now)
	defer c.arriving.Conn.SetWriteDeadline(time.Time{}) //nolint:errcheck // it is closed then
	return c.arriving.Poll()
}

// end ends c, of which nobody has heard.
func (s *spares) end(c *spare) { s.endpoint.shared.part(c.arriving.Conn) }
