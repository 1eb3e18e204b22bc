// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/net/http2"
)

const (
	// sendWaitBytes is how many bytes may wait to be written before a Send waits.
	sendWaitBytes = 64 << 10
	// maxQueuedBytes is how many bytes of frames may wait to be written. Senders wait
	// at sendWaitBytes. Beyond that come window updates, resets, headers of new
	// streams, each of a few bytes, and answers. A server that sends on, but does not
	// read for so long, loses its connection.
	maxQueuedBytes = 1 << 20
	// maxKeptBytes is the largest write buffer that is kept for reuse.
	maxKeptBytes = 256 << 10
	// maxWriteRounds is how many times a writing sender writes again, because other
	// senders have appended meanwhile. After that flushLoop writes.
	maxWriteRounds = 4
	// readAfterWriteError is how long Run reads on after a failed write, because the
	// server's reason may be on its way. With TLS 1.3 a client certificate is refused
	// only when the client has begun to write.
	readAfterWriteError = 100 * time.Millisecond
)

// flush writes out, unless another goroutine does. It reports whether it has unlocked
// mu meanwhile. The caller holds mu.
func (c *Conn) flush() bool {
	if c.writing || len(c.out) == 0 || c.err != nil {
		return false
	}
	c.writing = true
	for range maxWriteRounds {
		p := c.takeOut()
		c.mu.Unlock()
		done, err := c.sink.tryWrite(p)
		c.mu.Lock()
		c.spareOut = reusable(p)
		if err != nil {
			c.failWrite(err)
			return true
		}
		if !done {
			break // flushLoop writes the rest
		}
		if len(c.out) == 0 || c.err != nil {
			c.writing = false
			c.writeDone.Broadcast()
			return true
		}
	}
	c.handedOff = true
	c.writeDone.Broadcast()
	c.flushLoopCond.Signal()
	return true
}

// sendGoAway sends GOAWAY, if the socket accepts it. A sender that writes never waits
// for the network; flushLoop may. The caller holds mu.
func (c *Conn) sendGoAway(code http2.ErrCode) {
	if c.err != nil {
		return
	}
	c.out = appendGoAway(c.out, code)
	for range maxWriteRounds {
		switch {
		case c.err != nil, c.handedOff:
			return
		case c.writing:
			c.writeDone.Wait()
		default:
			c.flush() // does nothing if another goroutine has written it
		}
	}
}

// takeOut returns the bytes of out, to be written, and wakes the next stream that waits
// to send. The caller holds mu.
func (c *Conn) takeOut() []byte {
	p := c.out
	c.out, c.spareOut = c.spareOut[:0], nil
	c.queuedAnswers = 0
	c.wakeNext()
	return p
}

// reusable returns p, or nil if it is too large to keep.
func reusable(p []byte) []byte {
	if cap(p) > maxKeptBytes {
		return nil
	}
	return p
}

// flushLoop writes what is handed to it, until the connection ends.
func (c *Conn) flushLoop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for !c.handedOff && c.err == nil {
			c.flushLoopCond.Wait()
		}
		if c.err != nil {
			return
		}
		c.mu.Unlock()
		err := c.sink.writeRest()
		c.mu.Lock()
		for err == nil && len(c.out) > 0 && c.err == nil {
			p := c.takeOut()
			c.mu.Unlock()
			if _, err = c.sink.tryWrite(p); err == nil {
				err = c.sink.writeRest()
			}
			c.mu.Lock()
			c.spareOut = reusable(p)
		}
		if err != nil {
			c.failWrite(err)
			return
		}
		c.writing, c.handedOff = false, false
	}
}

// errNotReading ends a connection whose server does not read the answers that it asks
// for.
var errNotReading = fmt.Errorf("it does not read, and what waits for it would need more memory than it may have: %w", http2.ConnectionError(http2.ErrCodeEnhanceYourCalm))

// checkQueued ends the connection if more waits to be written than the maximum. The
// caller holds mu.
func (c *Conn) checkQueued() {
	if len(c.out) > maxQueuedBytes || c.socket != nil && c.socket.failed() {
		c.failWrite(errNotReading)
	}
}

// failWrite notes that writing has failed. The caller holds mu.
func (c *Conn) failWrite(err error) {
	if c.err != nil {
		return
	}
	c.writeFailed = true
	c.stop(failed(Lost, err, "error writing to server: %v", err))
	_ = c.conn.SetReadDeadline(time.Now().Add(readAfterWriteError))
}

// sink writes a Conn's bytes.
type sink interface {
	// tryWrite writes as much of p as it can without waiting, and keeps the rest. The
	// caller may reuse p. done reports that nothing is left.
	tryWrite(p []byte) (done bool, err error)
	// writeRest writes the rest, and may wait.
	writeRest() error
}

// socketSink writes through a Socket, which keeps what does not fit into the kernel's
// buffer.
type socketSink struct {
	net.Conn
	socket *Socket
}

func (s socketSink) tryWrite(p []byte) (bool, error) {
	if _, err := s.Write(p); err != nil {
		return false, err
	}
	return s.socket.flushNow()
}

func (s socketSink) writeRest() error { return s.socket.flush() }

// waitingSink writes to any net.Conn. It leaves all writing to flushLoop, because each
// write may wait.
type waitingSink struct {
	conn net.Conn
	rest []byte
}

func (s *waitingSink) tryWrite(p []byte) (bool, error) {
	s.rest = append(s.rest[:0], p...)
	return false, nil
}

func (s *waitingSink) writeRest() error {
	_, err := s.conn.Write(s.rest)
	s.rest = s.rest[:0]
	return err
}
