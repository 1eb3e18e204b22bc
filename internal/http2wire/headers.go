// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

var errUpdates = errors.New("more than two table size updates")

// readHeaders reads the rest of the header block that begins with f, and decodes it.
//
// http2.Framer can decode headers too. But it refuses the second of two table size
// updates, which RFC 7541, section 4.2, allows: hpack's decoder takes only one if its
// table is not empty.
func (c *Conn) readHeaders(f *http2.HeadersFrame) (*http2.MetaHeadersFrame, error) {
	block := append([]byte(nil), f.HeaderBlockFragment()...)
	for ended, frames := f.HeadersEnded(), 1; !ended; frames++ {
		next, err := c.framer.ReadFrame()
		if err != nil {
			return nil, err
		}
		more := next.(*http2.ContinuationFrame) // the framer returns no other frame here
		block = append(block, more.HeaderBlockFragment()...)
		if len(block)+frames*frameHeaderBytes > 2*int(c.cfg.MaxHeaders) {
			return nil, fmt.Errorf("headers without an end: %w", http2.ConnectionError(http2.ErrCodeProtocol))
		}
		ended = more.HeadersEnded()
	}
	m := &http2.MetaHeadersFrame{HeadersFrame: f}
	left := int(c.cfg.MaxHeaders)
	c.decoder.SetEmitFunc(func(h hpack.HeaderField) {
		left -= int(h.Size())
		if m.Truncated = left < 0; !m.Truncated {
			m.Fields = append(m.Fields, h)
		}
	})
	if err := c.decode(block); err != nil {
		return nil, fmt.Errorf("HEADERS: %w: %w", err, http2.ConnectionError(http2.ErrCodeCompression))
	}
	if wrong := fieldFault(m.Fields); wrong != "" {
		return nil, http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol, Cause: errors.New(wrong)}
	}
	return m, nil
}

// decode decodes a header block. hpack's decoder takes a table size update only at the
// beginning of a block. So decode hands it each update as a block of its own.
func (c *Conn) decode(block []byte) error {
	const update, mask, long, more = 0x20, 0xe0, 0x1f, 0x80 // RFC 7541, sections 5.1 and 6.3
	for updates := 0; len(block) > 0 && block[0]&mask == update; updates++ {
		if updates == 2 {
			return errUpdates
		}
		n := 1
		if block[0]&long == long {
			for n < len(block) && block[n]&more != 0 {
				n++
			}
			n = min(n+1, len(block))
		}
		if err := c.decodePart(block[:n]); err != nil {
			return err
		}
		block = block[n:]
	}
	return c.decodePart(block)
}

func (c *Conn) decodePart(p []byte) error {
	if _, err := c.decoder.Write(p); err != nil {
		return err
	}
	return c.decoder.Close()
}

// fieldFault returns which rule of RFC 9113, sections 8.2.1 and 8.3, fields break, or
// "".
func fieldFault(fields []hpack.HeaderField) string {
	pseudo := true
	for i, f := range fields {
		switch {
		case !httpguts.ValidHeaderFieldValue(f.Value):
			return fmt.Sprintf("invalid value of header field %.100q", f.Name)
		case strings.HasPrefix(f.Name, ":"):
			if f.Name != ":status" {
				return fmt.Sprintf("pseudo-header field %.100q in an answer", f.Name)
			}
			if !pseudo {
				return "pseudo-header field behind others"
			}
			if slices.ContainsFunc(fields[:i], func(other hpack.HeaderField) bool { return other.Name == f.Name }) {
				return "two pseudo-header fields " + f.Name
			}
		case !httpguts.ValidHeaderFieldName(f.Name) || strings.ToLower(f.Name) != f.Name:
			return fmt.Sprintf("invalid name of header field %.100q", f.Name)
		default:
			pseudo = false
		}
	}
	return ""
}

// handleHeaders processes the headers of an answer, or its trailers.
func (c *Conn) handleHeaders(f *http2.MetaHeadersFrame) error {
	s := c.lookup(f.StreamID)
	if s == nil {
		return c.checkOpened(f.StreamID, "HEADERS")
	}
	first := !s.answered
	interim := first && isInterim(f)
	s.answered = !interim
	wrong := answerFault(f, first, interim)
	switch {
	case s.serverEnded:
		c.violation(s, http2.StreamError{StreamID: s.id, Code: http2.ErrCodeStreamClosed, Cause: errors.New("HEADERS behind its end")})
	case f.Truncated:
		s.Abort(http2.ErrCodeProtocol, failed(Ended, nil, "peer header list size exceeded limit"))
	case !first && !f.StreamEnded():
		s.Abort(http2.ErrCodeProtocol, failed(Ended, nil, "a HEADERS frame cannot appear in the middle of a stream"))
	case wrong != "":
		s.Abort(http2.ErrCodeProtocol, failed(Ended, nil, "malformed answer from server: %s", wrong))
	case interim: // such as 103 Early Hints; no framing uses them
	default:
		over := f.StreamEnded() && s.serverEnds()
		s.handler.Headers(f, !first)
		if over {
			c.forget(s)
		}
	}
	return nil
}
