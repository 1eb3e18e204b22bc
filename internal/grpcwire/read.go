// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"errors"
	"fmt"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// patience is how many answers to pings and settings of the server may wait to be
// written. Who asks for more and does not take them is not well.
const patience = 1000

// source is where a Conn's frames are read from.
type source Conn

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	c := (*Conn)(s)
	if c.under == nil {
		c.wake()
	}
	return c.conn.Read(p)
}

// wake tells handlers of what has come for them since the last time, and writes
// what is to be answered. It is called when nothing is left to be read at once.
func (c *Conn) wake() {
	for i, s := range c.fresh {
		s.isFresh = false
		c.fresh[i] = nil
		s.handler.Arrived()
	}
	c.fresh = c.fresh[:0]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	c.hear()
	// crypto/tls may have answered something by itself.
	if c.under != nil && !c.writing && c.under.waits() {
		c.writing, c.left = true, true
		c.flusher.Signal()
	}
}

// read reads frames until there are no more.
func (c *Conn) read() error {
	for {
		head, err := c.framer.ReadFrameHeader()
		if !c.heard.Load() && isHTTP1(head) {
			return ErrHTTP1
		}
		if err == nil && !c.heard.Load() && (head.Type != http2.FrameSettings || head.Flags.Has(http2.FlagSettingsAck)) {
			return fmt.Errorf("%s in place of the server's settings: %w", head.Type, http2.ConnectionError(http2.ErrCodeProtocol))
		}
		if err == nil && head.Type == http2.FrameData {
			err = c.data(head)
		} else if err == nil {
			err = c.other(head)
		}
		if stream, ok := errors.AsType[http2.StreamError](err); ok {
			err = c.streamError(stream)
		}
		if errors.Is(err, http2.ErrFrameTooLarge) {
			err = fmt.Errorf("%w: %w", err, http2.ConnectionError(http2.ErrCodeFrameSize))
		}
		if err != nil {
			return c.explained(err)
		}
	}
}

// isHTTP1 reports whether what was read as the head of a frame is how an answer of
// HTTP/1.x begins.
func isHTTP1(head http2.FrameHeader) bool {
	return head.Length == 'H'<<16|'T'<<8|'T' && head.Type == 'P' && head.Flags == '/'
}

// explained adds to an error what the framer knows of it, or what the server has
// said before it ended the connection.
func (c *Conn) explained(err error) error {
	if detail := c.framer.ErrorDetail(); detail != nil {
		err = fmt.Errorf("%w: %w", err, detail)
	}
	if c.farewell != "" {
		err = fmt.Errorf("%w; before, it said %s", err, c.farewell)
	}
	return err
}

// streamError ends a stream on which the server has broken HTTP/2.
func (c *Conn) streamError(err http2.StreamError) error {
	if s := c.lookup(err.StreamID); s != nil {
		c.abort(s, err.Code, failed(codes.Internal, err, "%v", err))
		return nil
	}
	return c.idle(err.StreamID, "it breaks the rules for streams")
}

// other reads a frame that is no DATA.
func (c *Conn) other(head http2.FrameHeader) error {
	frame, err := c.framer.ReadFrameForHeader(head)
	if broken, ok := errors.AsType[http2.StreamError](err); ok && head.Type == http2.FrameHeaders {
		// More padding than there is (http2's parseHeadersFrame). What follows could
		// not be decoded without them.
		return fmt.Errorf("HEADERS: %w", http2.ConnectionError(broken.Code))
	}
	if err != nil {
		return err
	}
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		m, err := c.headers(f)
		if err != nil {
			return err
		}
		return c.head(m)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.RSTStreamFrame:
		return c.rstStream(f)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		if f.IsAck() {
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.answer(func(b []byte) []byte {
			b = appendFrame(b, len(f.Data), http2.FramePing, http2.FlagPingAck, 0)
			return append(b, f.Data[:]...)
		})
	case *http2.GoAwayFrame:
		return c.goAway(f)
	case *http2.PushPromiseFrame:
		return fmt.Errorf("PUSH_PROMISE: %w", http2.ConnectionError(http2.ErrCodeProtocol))
	default:
		return nil // RFC 9113, section 5.5
	}
}

// answer puts something into out that the server has asked for. The caller holds mu.
func (c *Conn) answer(add func([]byte) []byte) error {
	if c.answers++; c.answers > patience {
		c.flush()
		if c.answers > patience {
			return fmt.Errorf("it asks for more answers than it takes: %w", http2.ConnectionError(http2.ErrCodeEnhanceYourCalm))
		}
	}
	if c.err == nil {
		c.out = add(c.out)
	}
	return nil
}

// idle returns an error where a stream that is not there never was.
func (c *Conn) idle(id uint32, what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id%2 == 0 || id >= c.nextID {
		return fmt.Errorf("stream %d, which was never opened: %s: %w", id, what, http2.ConnectionError(http2.ErrCodeProtocol))
	}
	return nil
}

// settings takes over what the server allows (RFC 9113, section 6.5.2).
func (c *Conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	// The ack goes ahead of all that is sent by the new settings: a server need not
	// expect it before (RFC 9113, section 6.5.3).
	grown := false
	defer func() { // when mu is free
		if grown && c.cfg.Grown != nil {
			c.cfg.Grown()
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.most
	if err := f.ForeachSetting(c.set); err != nil {
		return err
	}
	grown = c.most > before
	if !c.heard.Swap(true) {
		close(c.ready)
	}
	return c.answer(func(b []byte) []byte { return appendFrame(b, 0, http2.FrameSettings, http2.FlagSettingsAck, 0) })
}

// set takes over one setting. The caller holds mu.
func (c *Conn) set(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingEnablePush:
		if s.Val != 0 { // which is for clients (RFC 9113, section 6.5.2)
			return fmt.Errorf("SETTINGS_ENABLE_PUSH of %d: %w", s.Val, http2.ConnectionError(http2.ErrCodeProtocol))
		}
	case http2.SettingMaxConcurrentStreams:
		c.most = s.Val
	case http2.SettingMaxFrameSize:
		c.peer.frame = int(s.Val)
	case http2.SettingHeaderTableSize:
		c.encoder.SetMaxDynamicTableSize(min(s.Val, 4096))
	case http2.SettingInitialWindowSize:
		by := int(s.Val) - c.peer.streamWindow
		c.peer.streamWindow = int(s.Val)
		c.table.Lock()
		defer c.table.Unlock()
		for _, stream := range c.streams {
			// It may get less than nothing (RFC 9113, section 6.9.2).
			if stream.allowed += by; stream.allowed > maxWindow {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
			stream.changed.Broadcast()
		}
	}
	return nil
}

// windowUpdate lets more be sent.
func (c *Conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	by := int(f.Increment)
	if f.StreamID == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.peer.window += by; c.peer.window > maxWindow {
			return fmt.Errorf("window of %d bytes: %w", c.peer.window, http2.ConnectionError(http2.ErrCodeFlowControl))
		}
		c.next()
		return nil
	}
	s := c.lookup(f.StreamID)
	if s == nil {
		return c.idle(f.StreamID, "WINDOW_UPDATE")
	}
	c.mu.Lock()
	s.allowed += by
	over := s.allowed > maxWindow
	s.changed.Broadcast()
	c.mu.Unlock()
	if over {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl, Cause: errors.New("window too large")}
	}
	return nil
}

// rstStream ends a stream that the server has ended.
func (c *Conn) rstStream(f *http2.RSTStreamFrame) error {
	s := c.lookup(f.StreamID)
	if s == nil {
		return c.idle(f.StreamID, "RST_STREAM")
	}
	var cause error
	if f.ErrCode == http2.ErrCodeRefusedStream {
		cause = ErrUnprocessed
	}
	c.end(s, failed(codes.Internal, cause, "stream terminated by RST_STREAM with error code: %s", f.ErrCode))
	return nil
}

// goAway: the server takes no more streams, and has not looked at those above the
// last one that it names (RFC 9113, section 6.8).
func (c *Conn) goAway(f *http2.GoAwayFrame) error {
	if f.LastStreamID > c.lastID {
		return fmt.Errorf("GOAWAY that takes back an earlier one: %w", http2.ConnectionError(http2.ErrCodeProtocol))
	}
	c.lastID = f.LastStreamID
	if f.ErrCode != http2.ErrCodeNo {
		c.farewell = fmt.Sprintf("%s %.100q", f.ErrCode, f.DebugData())
	}
	c.drain()
	c.table.Lock()
	var beyond []*Stream
	for id, s := range c.streams {
		if id > c.lastID {
			beyond = append(beyond, s)
		}
	}
	c.table.Unlock()
	for _, s := range beyond {
		c.end(s, failed(codes.Unavailable, ErrUnprocessed, "the server has sent GOAWAY and does not serve the stream: %s", c.farewell))
	}
	return nil
}

// end ends s, which the server or the connection has ended with err.
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

// abort ends s for err, and says so.
func (c *Conn) abort(s *Stream, code http2.ErrCode, err error) {
	if !c.remove(s) {
		return
	}
	c.mu.Lock()
	c.reset(s, code)
	c.mu.Unlock()
	s.handler.End(err)
}

// ended ends s, which the server has ended in order, with err. Where we have not
// ended our side, a reset does that.
func (c *Conn) ended(s *Stream, err error) {
	if !c.remove(s) {
		return
	}
	c.mu.Lock()
	if s.closed {
		s.ended = true
	} else {
		c.reset(s, http2.ErrCodeNo)
	}
	c.mu.Unlock()
	s.handler.End(err)
}
