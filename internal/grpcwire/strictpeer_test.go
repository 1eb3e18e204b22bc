// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// This file checks the client's frames against RFC 9113. strictsay_test.go sends a
// server's frames at random.

// allowance is what one SETTINGS frame of the server allows.
type allowance struct{ window, frame, streams, table int }

// strictPeer is a server that echoes the bytes of each stream.
type strictPeer struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	out    bytes.Buffer // framer writes here
	reader chan struct{}

	mu       sync.Mutex
	event    sync.Cond // the client has sent a frame
	events   int       // frames of the client
	random   *rand.Rand
	over     bool
	acked    allowance
	unacked  []allowance
	pings    [][8]byte
	streams  map[uint32]*strictStream
	last     uint32 // last stream of the client
	lastGood uint32 // last stream that is served after GOAWAY
	window   int    // bytes that the client has granted on all streams
	initial  int    // bytes that it grants on a new stream
	sent     int    // bytes of the client's DATA
	granted  int    // bytes that the client may send
	decoder  *hpack.Decoder
	shrunk   bool // the client's encoder must announce a smaller table
	encoder  *hpack.Encoder
	block    bytes.Buffer
	seen     map[string]int // what was sent, by kind
}

// strictStream is one stream of a strictPeer.
type strictStream struct {
	window   int // bytes that the client has granted
	sent     int // bytes of the client's DATA
	granted  int // bytes that the client may send, beyond the initial window
	echo     []byte
	answered bool
	ended    bool // by the server
	closed   bool // by the client, in order
	reset    bool // by the client, with a reset
}

func (p *strictPeer) fail(format string, args ...any) {
	p.t.Errorf("the client breaks RFC 9113: "+format, args...)
	_ = p.conn.Close()
}

// mostAllowed returns the largest value that the client may still consider allowed.
func (p *strictPeer) mostAllowed(of func(allowance) int) int {
	most := of(p.acked)
	for _, a := range p.unacked {
		most = max(most, of(a))
	}
	return most
}

// read reads frames until the connection ends.
func (p *strictPeer) read() {
	defer close(p.reader)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(p.conn, preface); err != nil || string(preface) != http2.ClientPreface {
		p.fail("it begins with %q (%v)", preface, err)
	}
	for first := true; ; first = false {
		f, err := p.framer.ReadFrame()
		p.mu.Lock()
		if err != nil {
			if !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "closed") {
				p.fail("%v: %v", err, p.framer.ErrorDetail())
			}
			p.over = true
			p.event.Broadcast()
			p.mu.Unlock()
			return
		}
		if _, ok := f.(*http2.SettingsFrame); first && !ok {
			p.fail("%v in place of its settings", f)
		}
		p.check(f)
		p.events++
		p.event.Broadcast()
		p.mu.Unlock()
	}
}

// check checks one frame of the client. The caller holds mu.
func (p *strictPeer) check(f http2.Frame) {
	if n := int(f.Header().Length); n > p.mostAllowed(func(a allowance) int { return a.frame }) {
		p.fail("a frame of %d bytes", n)
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		p.checkSettings(f)
	case *http2.HeadersFrame:
		p.checkHeaders(f)
	case *http2.DataFrame:
		p.checkData(f)
	case *http2.WindowUpdateFrame:
		p.checkWindow(f)
	case *http2.RSTStreamFrame:
		s := p.streams[f.StreamID]
		if s == nil || s.reset {
			p.fail("a reset of stream %d, which is idle or was reset", f.StreamID)
			return
		}
		if f.ErrCode != http2.ErrCodeCancel && f.ErrCode != http2.ErrCodeNo {
			p.fail("it resets stream %d with %s, and the server has done nothing wrong", f.StreamID, f.ErrCode)
		}
		if s.closed && f.ErrCode == http2.ErrCodeNo {
			p.fail("a reset of stream %d, which both sides have ended", f.StreamID)
		}
		p.seen["resets of the client"]++
		s.reset, s.echo = true, nil
	case *http2.PingFrame:
		if !f.IsAck() || len(p.pings) == 0 || p.pings[0] != f.Data {
			p.fail("%v, and %d pings wait for their answer", f, len(p.pings))
			return
		}
		p.pings = p.pings[1:]
	case *http2.GoAwayFrame:
		if f.ErrCode != http2.ErrCodeNo {
			p.fail("GOAWAY with %s, and the server has done nothing wrong", f.ErrCode)
		}
	default:
		p.fail("%v", f)
	}
}

func (p *strictPeer) checkSettings(f *http2.SettingsFrame) {
	if !f.IsAck() {
		if v, ok := f.Value(http2.SettingEnablePush); !ok || v != 0 {
			p.fail("push is not turned off")
		}
		v, _ := f.Value(http2.SettingInitialWindowSize)
		p.initial = int(v)
		_ = p.framer.WriteSettingsAck()
		return
	}
	if len(p.unacked) == 0 {
		p.fail("an ack of no settings")
		return
	}
	p.shrunk = p.shrunk || p.unacked[0].table < p.acked.table
	p.acked = p.unacked[0]
	p.unacked = p.unacked[1:]
}

func (p *strictPeer) checkHeaders(f *http2.HeadersFrame) {
	if f.StreamID%2 == 0 || f.StreamID <= p.last || !f.HeadersEnded() || f.StreamEnded() {
		p.fail("%v, and the last stream was %d", f, p.last)
	}
	p.last = f.StreamID
	open := 1
	for _, s := range p.streams {
		if !s.reset && !s.ended {
			open++
		}
	}
	if most := p.mostAllowed(func(a allowance) int { return a.streams }); open > most {
		p.fail("%d streams at once, and it is allowed %d", open, most)
	}
	p.checkFields(f.HeaderBlockFragment())
	p.streams[f.StreamID] = &strictStream{window: p.initial}
}

// checkFields decodes a header block.
func (p *strictPeer) checkFields(block []byte) {
	const update, mask = 0x20, 0xe0 // RFC 7541, section 6.3
	if p.shrunk && block[0]&mask != update {
		p.fail("its header table has to become smaller, and it does not say so")
	}
	p.shrunk = false
	var fields []string
	p.decoder.SetEmitFunc(func(f hpack.HeaderField) { fields = append(fields, f.Name) })
	p.decoder.SetAllowedMaxDynamicTableSize(uint32(p.mostAllowed(func(a allowance) int { return a.table })))
	for block[0]&mask == update {
		// One by one: the decoder refuses a second one unless the first has emptied the
		// table, though two are allowed (RFC 7541, section 4.2).
		n := 1
		if block[0]&0x1f == 0x1f {
			_, size := binary.Uvarint(block[1:])
			n += size
		}
		_, err := p.decoder.Write(block[:n])
		if err == nil {
			err = p.decoder.Close()
		}
		if err != nil {
			p.fail("a table size update that cannot be: %v", err)
		}
		block = block[n:]
	}
	_, err := p.decoder.Write(block)
	if err == nil {
		err = p.decoder.Close()
	}
	want := []string{":method", ":scheme", ":path", ":authority", "content-type", "user-agent", "te"}
	if err != nil || !slices.Equal(fields, want) {
		p.fail("headers %q (%v), want %q", fields, err, want)
	}
}

func (p *strictPeer) checkData(f *http2.DataFrame) {
	n := int(f.Length)
	s := p.streams[f.StreamID]
	if s == nil || s.reset {
		p.fail("DATA on stream %d, which is idle or was reset", f.StreamID)
		return
	}
	if s.closed {
		p.fail("DATA on stream %d behind END_STREAM", f.StreamID)
	}
	if s.closed = f.StreamEnded(); s.closed {
		p.seen["ends of the client"]++
	}
	p.sent += n
	s.sent += n
	if p.sent > p.granted {
		p.fail("%d bytes more than the connection's window", p.sent-p.granted)
	}
	if allowed := s.granted + p.mostAllowed(func(a allowance) int { return a.window }); n > 0 && s.sent > allowed {
		p.fail("%d bytes more than the window of stream %d", s.sent-allowed, f.StreamID)
	}
	if !s.ended && f.StreamID <= p.lastGood {
		s.echo = append(s.echo, f.Data()...)
	}
}

func (p *strictPeer) checkWindow(f *http2.WindowUpdateFrame) {
	if f.StreamID == 0 {
		if p.window += int(f.Increment); p.window > maxWindowBytes {
			p.fail("a window of %d bytes", p.window)
		}
		return
	}
	s := p.streams[f.StreamID]
	if s == nil || s.reset {
		p.fail("WINDOW_UPDATE of stream %d, which is idle or was reset", f.StreamID)
		return
	}
	if s.window += int(f.Increment); s.window > p.initial+testMaxAhead {
		p.fail("a window of %d bytes for stream %d", s.window, f.StreamID)
	}
}

// testMaxAhead is how many bytes beyond the window a long message may have, if its
// handler waits for it.
const testMaxAhead = 1 << 20
