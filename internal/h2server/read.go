// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/net/http2"
)

// fault returns a violation of the protocol that ends the connection.
func fault(code http2.ErrCode, format string, values ...any) error {
	return &Fault{code, fmt.Sprintf(format, values...)}
}

// read reads frames until the connection ends. It returns errOrderly if the client has
// ended it between two frames.
func (c *Conn) read() error {
	if err := c.start(); err != nil {
		return err
	}
	for {
		frame, err := c.readFrame()
		if wrong, ok := errors.AsType[http2.StreamError](err); ok {
			if err := c.wrongStream(wrong); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return readError(err)
		}
		if err := c.handle(frame); err != nil {
			return err
		}
	}
}

// maxRead is how many bytes one frame may have, with the CONTINUATION frames that belong to
// it. The framer of golang.org/x/net/http2 limits the header in them, but not how many of
// them have nothing in it.
const maxRead = 4 * maxFrame

// errEndless is the error of a frame with more than maxRead bytes.
var errEndless = errors.New("the header has too many frames")

// frameReader limits how much is read for one frame.
type frameReader struct {
	from *bufio.Reader
	left int
}

// Read implements io.Reader.
func (r *frameReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errEndless
	}
	n, err := r.from.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

func (c *Conn) readFrame() (http2.Frame, error) {
	c.reader.left = maxRead
	return c.framer.ReadFrame()
}

// start exchanges the prefaces (RFC 9113 3.4).
func (c *Conn) start() error {
	c.mu.Lock()
	c.control(nil) // writes the SETTINGS
	c.mu.Unlock()
	_ = c.conn.SetReadDeadline(time.Now().Add(c.cfg.StartTimeout)) // fails if closed, as the read does
	var preface [len(http2.ClientPreface)]byte
	if _, err := io.ReadFull(c.reader.from, preface[:]); err != nil {
		return readError(err)
	}
	if string(preface[:]) != http2.ClientPreface {
		return fault(http2.ErrCodeProtocol, "the client does not begin as HTTP/2 does")
	}
	frame, err := c.readFrame()
	if err != nil {
		return readError(err)
	}
	if settings, ok := frame.(*http2.SettingsFrame); !ok || settings.IsAck() {
		return fault(http2.ErrCodeProtocol, "the client's first frame is not SETTINGS")
	}
	_ = c.conn.SetReadDeadline(time.Time{})
	return c.handle(frame)
}

// readError returns the error of the connection for one of the framer. It is errOrderly if
// the client has ended the connection.
func readError(err error) error {
	if code, ok := errors.AsType[http2.ConnectionError](err); ok {
		return fault(http2.ErrCode(code), "a frame that HTTP/2 does not allow")
	}
	switch {
	case errors.Is(err, errEndless):
		return fault(http2.ErrCodeEnhanceYourCalm, "a header of more than %d bytes, its frames included", maxRead)
	case errors.Is(err, http2.ErrFrameTooLarge):
		return fault(http2.ErrCodeFrameSize, "a frame larger than %d bytes", maxFrame)
	case errors.Is(err, io.EOF):
		return errOrderly
	default:
		return err
	}
}

// wrongStream resets a stream of which a frame is malformed.
func (c *Conn) wrongStream(e http2.StreamError) error {
	if !c.floods.mistake() {
		return fault(http2.ErrCodeEnhanceYourCalm, "too many malformed streams")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID = max(c.lastID, e.StreamID)
	if s := c.streams[e.StreamID]; s != nil {
		s.fail(ErrReset)
		if s.remove() {
			go c.finish()
		}
	}
	return c.answer(appendReset(nil, e.StreamID, e.Code))
}

// handle handles one frame. An error ends the connection.
func (c *Conn) handle(frame http2.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.heard = time.Now()
	switch f := frame.(type) {
	case *http2.DataFrame:
		return c.handleData(f)
	case *http2.MetaHeadersFrame:
		return c.handleHeaders(f)
	case *http2.WindowUpdateFrame:
		return c.handleWindowUpdate(f)
	case *http2.RSTStreamFrame:
		return c.handleReset(f)
	case *http2.SettingsFrame:
		return c.handleSettings(f)
	case *http2.PingFrame:
		return c.handlePing(f)
	case *http2.PushPromiseFrame:
		return fault(http2.ErrCodeProtocol, "a client's PUSH_PROMISE")
	case *http2.GoAwayFrame: // the client ends the connection after its streams
		return nil
	default: // PRIORITY, and frames that HTTP/2 does not know
		if !c.floods.idle() {
			return fault(http2.ErrCodeEnhanceYourCalm, "too many frames that ask for nothing")
		}
		return nil
	}
}

// answer queues a frame that answers the client's. The caller holds mu.
func (c *Conn) answer(frame []byte) error {
	if c.out.control+len(frame) > maxControl {
		return fault(http2.ErrCodeEnhanceYourCalm, "the client does not read the answers to its frames")
	}
	c.control(frame)
	return nil
}

func (c *Conn) handleData(f *http2.DataFrame) error {
	// The frame counts with its padding (RFC 9113 6.9.1).
	c.unreturned += int(f.Length)
	if c.unreturned >= connWindow/4 {
		c.control(appendWindowUpdate(nil, 0, c.unreturned))
		c.unreturned = 0
	}
	if len(f.Data()) == 0 && !f.StreamEnded() && !c.floods.idle() {
		return fault(http2.ErrCodeEnhanceYourCalm, "too many frames that ask for nothing")
	}
	s, err := c.streamOf(f.StreamID)
	if err != nil || s == nil {
		return err
	}
	if s.gotEnd {
		return c.resetStream(s, http2.ErrCodeStreamClosed)
	}
	// An end without data needs no window, which may be negative (RFC 9113 6.9.1).
	if f.Length > 0 && int(f.Length) > s.in.credit {
		return c.resetStream(s, http2.ErrCodeFlowControl)
	}
	s.in.credit -= int(f.Length) - len(f.Data()) // padding is lost to the window
	s.in.add(f.Data())
	if f.StreamEnded() {
		c.endInput(s)
	}
	s.recvReady.Signal()
	return nil
}

// endInput notes END_STREAM. The caller holds mu.
func (c *Conn) endInput(s *Stream) {
	s.gotEnd = true
	s.in.end(c.cfg.Memory)
	if s.removeIfOver() {
		go c.finish()
	}
}

// streamOf returns a stream, or nil if it has ended. A stream that was never begun ends
// the connection.
func (c *Conn) streamOf(id uint32) (*Stream, error) {
	if s := c.streams[id]; s != nil {
		return s, nil
	}
	if id > c.lastID || id%2 == 0 {
		return nil, fault(http2.ErrCodeProtocol, "a frame of a stream that was not begun")
	}
	return nil, nil
}

// resetStream resets a stream for a mistake of the client. The caller holds mu.
func (c *Conn) resetStream(s *Stream, code http2.ErrCode) error {
	if !c.floods.mistake() {
		return fault(http2.ErrCodeEnhanceYourCalm, "too many malformed streams")
	}
	s.fail(ErrReset)
	if s.remove() {
		go c.finish()
	}
	return c.answer(appendReset(nil, s.id, code))
}

func (c *Conn) handleHeaders(f *http2.MetaHeadersFrame) error {
	if f.StreamID%2 == 0 {
		return fault(http2.ErrCodeProtocol, "a client's stream with an even number")
	}
	if s := c.streams[f.StreamID]; s != nil { // trailers
		if s.gotEnd || !f.StreamEnded() {
			return c.resetStream(s, http2.ErrCodeProtocol)
		}
		c.endInput(s)
		s.recvReady.Signal()
		return nil
	}
	if f.StreamID <= c.lastID {
		if !c.floods.mistake() {
			return fault(http2.ErrCodeEnhanceYourCalm, "too many frames of closed streams")
		}
		return c.answer(appendReset(nil, f.StreamID, http2.ErrCodeStreamClosed))
	}
	c.lastID = f.StreamID
	var s *Stream
	if c.away != left && c.serving < c.cfg.MaxStreams && len(c.out.pending) < maxUnread {
		s = c.newStream(f.StreamID, requestOf(f), f.StreamEnded())
	}
	if s == nil {
		if !c.floods.refused() {
			return fault(http2.ErrCodeEnhanceYourCalm, "too many streams beyond the limit")
		}
		return c.answer(appendReset(nil, f.StreamID, http2.ErrCodeRefusedStream))
	}
	c.streams[f.StreamID] = s
	c.serving++
	c.serves.Add(1)
	go c.serve(s)
	return nil
}

// requestOf returns what a header asks for.
func requestOf(f *http2.MetaHeadersFrame) Request {
	r := Request{Method: f.PseudoValue("method"), Authority: f.PseudoValue("authority"), TooLarge: f.Truncated}
	for _, field := range f.PseudoFields() {
		if field.Name != ":method" && field.Name != ":authority" {
			r.Other = true
		}
	}
	return r
}

func (c *Conn) handleReset(f *http2.RSTStreamFrame) error {
	s, err := c.streamOf(f.StreamID)
	if err != nil || s == nil {
		return err
	}
	if !s.answered && !c.floods.refused() {
		return fault(http2.ErrCodeEnhanceYourCalm, "too many streams that were reset at once")
	}
	s.fail(ErrReset)
	if s.remove() {
		go c.finish()
	}
	return nil
}

func (c *Conn) handlePing(f *http2.PingFrame) error {
	if f.IsAck() {
		c.pinged = time.Time{}
		return nil
	}
	if !c.floods.idle() {
		return fault(http2.ErrCodeEnhanceYourCalm, "too many PINGs")
	}
	return c.answer(appendPing(nil, http2.FlagPingAck, f.Data))
}
