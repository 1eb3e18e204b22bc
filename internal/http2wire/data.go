// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"fmt"

	"golang.org/x/net/http2"
)

// handleData processes a DATA frame.
func (c *Conn) handleData(head http2.FrameHeader) error {
	n := int(head.Length)
	payload, err := c.in.Peek(n)
	if err != nil {
		return err
	}
	defer func() { _, _ = c.in.Discard(n) }() // cannot fail: Peek has read them
	if c.recvWindow -= n; c.recvWindow < 0 {
		return fmt.Errorf("DATA beyond the connection's window: %w", http2.ConnectionError(http2.ErrCodeFlowControl))
	}
	c.returnWindow(n)
	s := c.lookup(head.StreamID)
	if s == nil {
		return c.checkOpened(head.StreamID, "DATA") // for stream 0 too (RFC 9113, section 6.1)
	}
	broken := func(code http2.ErrCode, why string) error {
		return http2.StreamError{StreamID: s.id, Code: code, Cause: fmt.Errorf("DATA %s", why)}
	}
	if !s.answered {
		return broken(http2.ErrCodeProtocol, "before the headers")
	}
	if head.Flags.Has(http2.FlagDataPadded) {
		if n == 0 || int(payload[0]) >= n {
			return fmt.Errorf("padding of more than there is: %w", http2.ConnectionError(http2.ErrCodeProtocol))
		}
		payload = payload[1 : n-int(payload[0])]
	}
	if n > 0 && s.recvWindow.Add(-int64(n)) < 0 { // a window may be negative, and an empty frame uses nothing
		return broken(http2.ErrCodeFlowControl, "beyond the stream's window")
	}
	end, over := head.Flags.Has(http2.FlagDataEndStream), false
	if end || s.serverEnded {
		if s.serverEnded {
			return broken(http2.ErrCodeStreamClosed, "behind its end")
		}
		over = s.serverEnds()
	}
	s.handler.Data(payload, n-len(payload), end)
	if over {
		c.forget(s)
	}
	return nil
}

// serverEnds notes that the server has ended its direction. It reports whether the
// stream is over thereby.
func (s *Stream) serverEnds() (over bool) {
	c := s.conn
	s.serverEnded = true
	c.mu.Lock()
	defer c.mu.Unlock()
	s.serverClosed = true
	return s.closed
}

// forget ends a stream that both sides have ended in order.
func (c *Conn) forget(s *Stream) {
	if c.remove(s) {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.ended = true
		s.changed.Broadcast()
	}
}

// returnWindow counts n received bytes, and returns the connection's window, a quarter
// at a time.
func (c *Conn) returnWindow(n int) {
	c.unreturnedBytes += n
	if c.unreturnedBytes < c.cfg.ConnectionWindow/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.out = appendWindowUpdate(c.out, 0, c.unreturnedBytes)
	}
	c.recvWindow += c.unreturnedBytes
	c.unreturnedBytes = 0
}
