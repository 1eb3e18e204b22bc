// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"errors"
	"fmt"

	"golang.org/x/net/http2"
)

// maxQueuedAnswers is how many answers to the server's PING and SETTINGS may wait to be
// written. A server that asks for more and does not read them loses its connection.
const maxQueuedAnswers = 1000

// source is the reader from which a Conn reads frames.
type source Conn

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	c := (*Conn)(s)
	if c.socket == nil {
		c.beforeRead()
	}
	n, err := c.conn.Read(p)
	if n > 0 {
		c.reads.Add(1)
	}
	return n, err
}

// beforeRead calls Arrived of each handler that has got messages since the last time.
// Then it writes the queued frames. It is called when the next read may wait.
func (c *Conn) beforeRead() {
	for i, s := range c.arrivals {
		s.inArrivals = false
		c.arrivals[i] = nil
		s.handler.Arrived()
	}
	c.arrivals = c.arrivals[:0]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	c.checkQueued()
	// crypto/tls may have written an answer of its own.
	if c.socket != nil && !c.writing && c.socket.hasGathered() {
		c.writing, c.handedOff = true, true
		c.flushLoopCond.Signal()
	}
}

// read reads frames until an error, which it returns.
func (c *Conn) read() error {
	for {
		head, err := c.framer.ReadFrameHeader()
		if !c.gotSettings.Load() && isHTTP1(head) {
			return ErrHTTP1
		}
		if err == nil && !c.gotSettings.Load() && (head.Type != http2.FrameSettings || head.Flags.Has(http2.FlagSettingsAck)) {
			return fmt.Errorf("%s in place of the server's settings: %w", head.Type, http2.ConnectionError(http2.ErrCodeProtocol))
		}
		if err == nil && head.Type == http2.FrameData {
			err = c.handleData(head)
		} else if err == nil {
			err = c.handleOther(head)
		}
		if stream, ok := errors.AsType[http2.StreamError](err); ok {
			err = c.streamError(stream)
		}
		if errors.Is(err, http2.ErrFrameTooLarge) {
			err = fmt.Errorf("%w: %w", err, http2.ConnectionError(http2.ErrCodeFrameSize))
		}
		if err != nil {
			return c.withDetail(err)
		}
	}
}

// isHTTP1 reports whether the bytes that were read as the header of a frame begin an
// answer of HTTP/1.x.
func isHTTP1(head http2.FrameHeader) bool {
	return head.Length == 'H'<<16|'T'<<8|'T' && head.Type == 'P' && head.Flags == '/'
}

// withDetail adds to err what the framer knows about it, and the reason that the server
// has given in a GOAWAY.
func (c *Conn) withDetail(err error) error {
	if detail := c.framer.ErrorDetail(); detail != nil {
		err = fmt.Errorf("%w: %w", err, detail)
	}
	if c.goAwayReason != "" {
		err = fmt.Errorf("%w; before, it said %s", err, c.goAwayReason)
	}
	return err
}

// streamError ends a stream on which the server has violated HTTP/2.
func (c *Conn) streamError(err http2.StreamError) error {
	if s := c.lookup(err.StreamID); s != nil {
		c.violation(s, err)
		return nil
	}
	return c.checkOpened(err.StreamID, "it breaks the rules for streams")
}

// handleOther reads and processes a frame that is not DATA.
func (c *Conn) handleOther(head http2.FrameHeader) error {
	frame, err := c.framer.ReadFrameForHeader(head)
	if broken, ok := errors.AsType[http2.StreamError](err); ok && head.Type == http2.FrameHeaders {
		// The padding is longer than the frame (http2's parseHeadersFrame). Later
		// headers cannot be decoded without these.
		return fmt.Errorf("HEADERS: %w", http2.ConnectionError(broken.Code))
	}
	if err != nil {
		return err
	}
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		m, err := c.readHeaders(f)
		if err != nil {
			return err
		}
		return c.handleHeaders(m)
	case *http2.WindowUpdateFrame:
		return c.handleWindowUpdate(f)
	case *http2.RSTStreamFrame:
		return c.handleReset(f)
	case *http2.SettingsFrame:
		return c.handleSettings(f)
	case *http2.PingFrame:
		if f.IsAck() {
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.queueAnswer(func(b []byte) []byte { return appendPing(b, http2.FlagPingAck, f.Data) })
	case *http2.GoAwayFrame:
		return c.handleGoAway(f)
	case *http2.PushPromiseFrame:
		return fmt.Errorf("PUSH_PROMISE: %w", http2.ConnectionError(http2.ErrCodeProtocol))
	default:
		return nil // frames of unknown types are ignored (RFC 9113, section 5.5)
	}
}

// queueAnswer appends a frame that answers the server. The caller holds mu.
func (c *Conn) queueAnswer(add func([]byte) []byte) error {
	if c.queuedAnswers++; c.queuedAnswers > maxQueuedAnswers {
		c.flush()
		if c.queuedAnswers > maxQueuedAnswers {
			return fmt.Errorf("it asks for more answers than it takes: %w", http2.ConnectionError(http2.ErrCodeEnhanceYourCalm))
		}
	}
	if c.err == nil {
		c.out = add(c.out)
	}
	return nil
}

// checkOpened returns an error if the stream, which is not open, was never opened.
func (c *Conn) checkOpened(id uint32, what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id%2 == 0 || id >= c.nextID {
		return fmt.Errorf("stream %d, which was never opened: %s: %w", id, what, http2.ConnectionError(http2.ErrCodeProtocol))
	}
	return nil
}

// handleWindowUpdate raises a send window.
func (c *Conn) handleWindowUpdate(f *http2.WindowUpdateFrame) error {
	by := int(f.Increment)
	if f.StreamID == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.peer.window += by; c.peer.window > maxWindowBytes {
			return fmt.Errorf("window of %d bytes: %w", c.peer.window, http2.ConnectionError(http2.ErrCodeFlowControl))
		}
		c.wakeNext()
		return nil
	}
	s := c.lookup(f.StreamID)
	if s == nil {
		return c.checkOpened(f.StreamID, "WINDOW_UPDATE")
	}
	c.mu.Lock()
	s.sendWindow += by
	over := s.sendWindow > maxWindowBytes
	s.changed.Broadcast()
	c.mu.Unlock()
	if over {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl, Cause: errors.New("window too large")}
	}
	return nil
}

// handleReset ends a stream that the server has reset.
func (c *Conn) handleReset(f *http2.RSTStreamFrame) error {
	s := c.lookup(f.StreamID)
	if s == nil {
		return c.checkOpened(f.StreamID, "RST_STREAM")
	}
	reset := PeerReset{f.ErrCode}
	c.end(s, failed(Ended, reset, "%v", reset))
	return nil
}

// handleGoAway ends the streams above the last one that the server names: it has not
// processed them, and takes no new ones (RFC 9113, section 6.8).
func (c *Conn) handleGoAway(f *http2.GoAwayFrame) error {
	if f.LastStreamID > c.goAwayLastID {
		return fmt.Errorf("GOAWAY that takes back an earlier one: %w", http2.ConnectionError(http2.ErrCodeProtocol))
	}
	c.goAwayLastID = f.LastStreamID
	if f.ErrCode != http2.ErrCodeNo {
		c.goAwayReason = fmt.Sprintf("%s %.100q", f.ErrCode, f.DebugData())
	}
	c.drain()
	c.streamsMutex.Lock()
	var beyond []*Stream
	for id, s := range c.streams {
		if id > c.goAwayLastID {
			beyond = append(beyond, s)
		}
	}
	c.streamsMutex.Unlock()
	for _, s := range beyond {
		c.end(s, failed(Lost, ErrUnprocessed, "the server has sent GOAWAY and does not serve the stream: %s", c.goAwayReason))
	}
	return nil
}

// end ends s with err, without sending anything. The server or the connection has ended
// it.
func (c *Conn) end(s *Stream, err error) {
	if !c.remove(s) {
		return
	}
	c.mu.Lock()
	s.ended = true
	s.changed.Broadcast()
	c.mu.Unlock()
	s.handler.End(err)
}
