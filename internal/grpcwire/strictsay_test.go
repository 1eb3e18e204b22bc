// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"bytes"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// newStrictPeer returns a server with a client connection to it. wait waits for the
// server's end.
func newStrictPeer(t *testing.T, random *rand.Rand, cfg Config) (p *strictPeer, client net.Conn, wait func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	conn, err := l.Accept()
	must(t, err)
	must(t, conn.SetDeadline(time.Now().Add(5*hangTimeout)))
	p = &strictPeer{
		t: t, conn: conn, reader: make(chan struct{}), random: random, streams: map[uint32]*strictStream{},
		acked:  allowance{initialWindowBytes, maxFrameBytes, maxWindowBytes, 4096},
		window: initialWindowBytes, initial: initialWindowBytes, granted: initialWindowBytes, lastGood: lastStreamID,
		decoder: hpack.NewDecoder(4096, nil), seen: map[string]int{},
	}
	p.event.L = &p.mu
	p.encoder = hpack.NewEncoder(&p.block)
	p.framer = http2.NewFramer(&p.out, conn)
	p.framer.SetMaxReadFrameSize(1<<24 - 1)
	p.sendSettings() // before all other frames
	var running sync.WaitGroup
	running.Go(p.read)
	running.Go(p.sendRandomly)
	return p, client, running.Wait
}

// sendRandomly sends frames at random until the connection ends.
func (p *strictPeer) sendRandomly() {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.conn.Close()
	for !p.over {
		events := p.events
		for range 1 + p.random.IntN(4) {
			p.sendOne()
		}
		busy := p.returnBytes()
		p.grant()
		out := bytes.Clone(p.out.Bytes())
		p.out.Reset()
		if len(out) > 0 {
			p.mu.Unlock()
			_, err := p.conn.Write(out)
			p.mu.Lock()
			if err != nil {
				return
			}
		}
		for !busy && p.events == events && !p.over {
			p.event.Wait()
		}
	}
}

// sendSettings sends the limits for the client, different ones each time.
func (p *strictPeer) sendSettings() {
	a := allowance{
		window: p.random.IntN(40_000), frame: maxFrameBytes + p.random.IntN(20_000),
		streams: 1 + p.random.IntN(20), table: p.random.IntN(3) * p.random.IntN(5000),
	}
	p.unacked = append(p.unacked, a)
	_ = p.framer.WriteSettings(
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(a.window)}, http2.Setting{ID: http2.SettingMaxFrameSize, Val: uint32(a.frame)},
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(a.streams)}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(a.table)},
		http2.Setting{ID: 0x99, Val: p.random.Uint32()})
	p.seen["settings"]++
}

// sendOne sends one frame that a server may send at any time, or none.
func (p *strictPeer) sendOne() {
	switch p.random.IntN(60) {
	case 0, 1, 2:
		if len(p.unacked) < 5 {
			p.sendSettings()
		}
	case 3, 4:
		if len(p.pings) < 5 {
			var data [8]byte
			data[0] = byte(p.random.Uint32())
			p.pings = append(p.pings, data)
			_ = p.framer.WritePing(false, data)
			p.seen["pings"]++
		}
	case 5:
		_ = p.framer.WriteRawFrame(0x77, 0xff, p.random.Uint32()>>1, make([]byte, p.random.IntN(100)))
	case 6:
		_ = p.framer.WritePriority(1+2*p.random.Uint32N(9), http2.PriorityParam{StreamDep: 2, Weight: 9})
	case 7:
		p.encoder.SetMaxDynamicTableSize(p.random.Uint32N(4096))
	case 8: // GOAWAY: the streams above lastGood end
		if p.last > 400 && p.lastGood == lastStreamID {
			p.lastGood = p.last - 2*p.random.Uint32N(3)
			for id, s := range p.streams {
				if id > p.lastGood {
					s.ended = true
				}
			}
			_ = p.framer.WriteGoAway(lastStreamID, http2.ErrCodeNo, nil)
			_ = p.framer.WriteGoAway(p.lastGood, http2.ErrCodeNo, []byte("enough"))
			p.seen["goaways"]++
		}
	case 9:
		if p.random.IntN(20) == 0 {
			p.resetOne()
		}
	}
}

// resetOne resets a stream, or refuses it.
func (p *strictPeer) resetOne() {
	for id, s := range p.streams {
		if !s.ended && !s.reset {
			code := http2.ErrCodeInternal
			if !s.answered {
				code = http2.ErrCodeRefusedStream
			}
			_ = p.framer.WriteRSTStream(id, code)
			s.ended, s.echo = true, nil
			p.seen["resets"]++
			return
		}
	}
}

// returnBytes echoes some bytes of the streams. It reports whether more could be echoed
// at once.
func (p *strictPeer) returnBytes() (more bool) {
	const last = prefixBytes + len("no more") // bytes that are held back, because they may be the last
	for id, s := range p.streams {            // in any order
		if s.ended || s.reset || len(s.echo) < last && !s.closed {
			continue
		}
		if !s.answered {
			p.sendAnswer(id)
			s.answered = true
		}
		if string(s.echo) == framed("no more") || s.closed && (len(s.echo) == 0 || p.random.IntN(3) == 0) {
			p.sendHeaders(id, true, "grpc-status", "0")
			s.ended, s.echo = true, nil
			p.seen["trailers"]++
			continue
		}
		most := min(len(s.echo)-last, s.window, p.window)
		if s.closed { // the client drops it
			most = min(len(s.echo), s.window, p.window)
		}
		if most <= 0 {
			continue
		}
		padding := 0
		if most > 300 {
			padding = p.random.IntN(3) * p.random.IntN(100)
		}
		n := min(most-padding-1, 1+p.random.IntN(20_000), maxFrameBytes-padding-1)
		n = max(n, 1)
		cost := n
		if padding > 0 {
			cost += 1 + padding
			_ = p.framer.WriteDataPadded(id, false, s.echo[:n], make([]byte, padding))
		} else {
			_ = p.framer.WriteData(id, false, s.echo[:n])
		}
		s.echo = s.echo[n:]
		s.window -= cost
		p.window -= cost
		more = true
		p.seen["data"]++
	}
	return more
}

// sendAnswer sends an answer whose stream continues, perhaps after interim responses.
func (p *strictPeer) sendAnswer(id uint32) {
	for range p.random.IntN(3) {
		p.sendHeaders(id, false, ":status", "103", "link", text(p.random.IntN(200)))
	}
	p.sendHeaders(id, false, ":status", "200", "content-type", "application/grpc", "x-noise", text(p.random.IntN(2000)))
}

// sendHeaders sends HEADERS and CONTINUATION frames.
func (p *strictPeer) sendHeaders(id uint32, end bool, pairs ...string) {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		must(p.t, p.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	rest := bytes.Clone(p.block.Bytes())
	cut := p.random.IntN(len(rest) + 1)
	first := http2.HeadersFrameParam{StreamID: id, BlockFragment: rest[:cut], EndStream: end, EndHeaders: cut == len(rest), PadLength: uint8(p.random.IntN(2) * p.random.IntN(100))}
	_ = p.framer.WriteHeaders(first)
	for rest = rest[cut:]; len(rest) > 0; {
		cut = 1 + p.random.IntN(len(rest))
		_ = p.framer.WriteContinuation(id, cut == len(rest), rest[:cut])
		rest = rest[cut:]
		p.seen["continuations"]++
	}
}

// grant raises the client's send windows that are nearly used up.
func (p *strictPeer) grant() {
	if left := p.granted - p.sent; left < 20_000 {
		n := 1 + p.random.IntN(50_000)
		p.granted += n
		_ = p.framer.WriteWindowUpdate(0, uint32(n))
	}
	window := p.acked.window
	if n := len(p.unacked); n > 0 {
		window = p.unacked[n-1].window // the window after the client has applied the settings
	}
	for id, s := range p.streams {
		left := s.granted + window - s.sent
		if left > 0 || s.ended || s.reset {
			continue
		}
		if left < 0 {
			p.seen["negative windows"]++
		}
		n := 1 - left + p.random.IntN(20_000)
		s.granted += n
		_ = p.framer.WriteWindowUpdate(id, uint32(n))
	}
}
