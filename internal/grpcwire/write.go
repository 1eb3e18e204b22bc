// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

const (
	// room is how many bytes wait to be written before a Send does.
	room = 64 << 10
	// mostQueued is how many bytes of frames may wait to be written. Senders wait at
	// room; more than that is window updates, resets and requests for streams, each
	// of a few bytes, and answers. A server that does not read for so long, while it
	// sends on, is not well.
	mostQueued = 1 << 20
	// keptBuffer is how many bytes a buffer for writing has at most that is kept for the
	// next time.
	keptBuffer = 256 << 10
	// rounds is how often who has sent something writes what others have put into
	// the buffer meanwhile, before it is left to flushLoop.
	rounds = 4
	// lastWords is how long Run goes on reading when writing has failed: why may be
	// on its way. With TLS 1.3 a client certificate is refused only when the client
	// has begun to write.
	lastWords = 100 * time.Millisecond
)

// flush writes what is in out, unless somebody else does. It reports whether it
// has let go of mu, which the caller holds, meanwhile.
func (c *Conn) flush() bool {
	if c.writing || len(c.out) == 0 || c.err != nil {
		return false
	}
	c.writing = true
	for range rounds {
		p := c.take()
		c.mu.Unlock()
		done, err := c.sink.put(p)
		c.mu.Lock()
		c.back = kept(p)
		if err != nil {
			c.broken(err)
			return true
		}
		if !done {
			break // and so it is left
		}
		if len(c.out) == 0 || c.err != nil {
			c.writing = false
			c.written.Broadcast()
			return true
		}
	}
	c.left = true
	c.written.Broadcast()
	c.flusher.Signal()
	return true
}

// sayGoodbye sends GOAWAY, as far as there is room for it. Who writes for others
// never waits for the network, flushLoop may. The caller holds mu.
func (c *Conn) sayGoodbye(code http2.ErrCode) {
	if c.err != nil {
		return
	}
	c.out = appendGoAway(c.out, code)
	for range rounds {
		switch {
		case c.err != nil, c.left:
			return
		case c.writing:
			c.written.Wait()
		default:
			c.flush() // nothing, where somebody else has written it
		}
	}
}

// take returns what is in out, to be written, and lets those go on who waited for
// room. The caller holds mu.
func (c *Conn) take() []byte {
	p := c.out
	c.out, c.back = c.back[:0], nil
	c.answers = 0
	c.next()
	return p
}

// kept returns p, or nil where it is too large to be kept.
func kept(p []byte) []byte {
	if cap(p) > keptBuffer {
		return nil
	}
	return p
}

// flushLoop writes what is left to it, until the connection ends.
func (c *Conn) flushLoop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for !c.left && c.err == nil {
			c.flusher.Wait()
		}
		if c.err != nil {
			return
		}
		c.mu.Unlock()
		err := c.sink.drain()
		c.mu.Lock()
		for err == nil && len(c.out) > 0 && c.err == nil {
			p := c.take()
			c.mu.Unlock()
			if _, err = c.sink.put(p); err == nil {
				err = c.sink.drain()
			}
			c.mu.Lock()
			c.back = kept(p)
		}
		if err != nil {
			c.broken(err)
			return
		}
		c.writing, c.left = false, false
	}
}

// errDeaf is the end of a connection whose server does not read what it has asked
// for.
var errDeaf = fmt.Errorf("it does not read, and what waits for it would need more memory than it may have: %w", http2.ConnectionError(http2.ErrCodeEnhanceYourCalm))

// hear ends the connection where more waits to be written than may. The caller
// holds mu.
func (c *Conn) hear() {
	if len(c.out) > mostQueued || c.under != nil && c.under.overfull() {
		c.broken(errDeaf)
	}
}

// broken notes that nothing can be written any more. The caller holds mu.
func (c *Conn) broken(err error) {
	if c.err != nil {
		return
	}
	c.mute = true
	c.stop(failed(codes.Unavailable, err, "error writing to server: %v", err))
	_ = c.conn.SetReadDeadline(time.Now().Add(lastWords))
}

// sink is where a Conn writes to.
type sink interface {
	// put takes p, which may be used again when it returns, and writes what can be
	// written without waiting. done says that this was all.
	put(p []byte) (done bool, err error)
	// drain writes the rest.
	drain() error
}

// socketSink writes through a Socket, which holds back what does not fit.
type socketSink struct {
	net.Conn
	socket *Socket
}

func (s socketSink) put(p []byte) (bool, error) {
	if _, err := s.Write(p); err != nil {
		return false, err
	}
	return s.socket.flushNow()
}

func (s socketSink) drain() error { return s.socket.flush() }

// waitingSink writes to a connection of which nothing is known.
type waitingSink struct {
	conn net.Conn
	rest []byte
}

func (s *waitingSink) put(p []byte) (bool, error) {
	s.rest = append(s.rest[:0], p...)
	return false, nil
}

func (s *waitingSink) drain() error {
	_, err := s.conn.Write(s.rest)
	s.rest = s.rest[:0]
	return err
}
