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

// newStrictPeer returns a server and a client that are connected, and what waits for
// the server's end.
func newStrictPeer(t *testing.T, random *rand.Rand, cfg Config) (p *strictPeer, client net.Conn, wait func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	conn, err := l.Accept()
	must(t, err)
	must(t, conn.SetDeadline(time.Now().Add(5*hang)))
	p = &strictPeer{
		t: t, conn: conn, reader: make(chan struct{}), random: random, streams: map[uint32]*strictStream{},
		acked:  allowance{initialWindow, maxFrame, maxWindow, 4096},
		window: initialWindow, initial: initialWindow, granted: initialWindow, lastGood: lastStreamID,
		decoder: hpack.NewDecoder(4096, nil), seen: map[string]int{},
	}
	p.event.L = &p.mu
	p.encoder = hpack.NewEncoder(&p.block)
	p.framer = http2.NewFramer(&p.out, conn)
	p.framer.SetMaxReadFrameSize(1<<24 - 1)
	p.settings() // ahead of all else
	var running sync.WaitGroup
	running.Go(p.read)
	running.Go(p.say)
	return p, client, running.Wait
}

// say says things at random until the connection ends.
func (p *strictPeer) say() {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.conn.Close()
	for !p.over {
		events := p.events
		for range 1 + p.random.IntN(4) {
			p.something()
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

// settings says what the client is allowed, which is something else each time.
func (p *strictPeer) settings() {
	a := allowance{
		window: p.random.IntN(40_000), frame: maxFrame + p.random.IntN(20_000),
		streams: 1 + p.random.IntN(20), table: p.random.IntN(3) * p.random.IntN(5000),
	}
	p.unacked = append(p.unacked, a)
	_ = p.framer.WriteSettings(
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(a.window)}, http2.Setting{ID: http2.SettingMaxFrameSize, Val: uint32(a.frame)},
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(a.streams)}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(a.table)},
		http2.Setting{ID: 0x99, Val: p.random.Uint32()})
	p.seen["settings"]++
}

// something says one thing that a server may say at any time, or nothing.
func (p *strictPeer) something() {
	switch p.random.IntN(60) {
	case 0, 1, 2:
		if len(p.unacked) < 5 {
			p.settings()
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
	case 8: // GOAWAY: of everything first, then of what it has not seen
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

// returnBytes returns some of what streams have got, and reports whether more could
// be returned at once.
func (p *strictPeer) returnBytes() (more bool) {
	const last = prefix + len("no more") // bytes that are held back, since they may be the last
	for id, s := range p.streams {       // in any order
		if s.ended || s.reset || len(s.echo) < last && !s.closed {
			continue
		}
		if !s.answered {
			p.answer(id)
			s.answered = true
		}
		if string(s.echo) == framed("no more") || s.closed && (len(s.echo) == 0 || p.random.IntN(3) == 0) {
			p.fields(id, true, "grpc-status", "0")
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
		n := min(most-padding-1, 1+p.random.IntN(20_000), maxFrame-padding-1)
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

// answer says that a stream goes on, perhaps behind interim responses.
func (p *strictPeer) answer(id uint32) {
	for range p.random.IntN(3) {
		p.fields(id, false, ":status", "103", "link", text(p.random.IntN(200)))
	}
	p.fields(id, false, ":status", "200", "content-type", "application/grpc", "x-noise", text(p.random.IntN(2000)))
}

// fields says headers in one or more frames.
func (p *strictPeer) fields(id uint32, end bool, pairs ...string) {
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

// grant lets the client send more where it may be waiting for it.
func (p *strictPeer) grant() {
	if left := p.granted - p.sent; left < 20_000 {
		n := 1 + p.random.IntN(50_000)
		p.granted += n
		_ = p.framer.WriteWindowUpdate(0, uint32(n))
	}
	window := p.acked.window
	if n := len(p.unacked); n > 0 {
		window = p.unacked[n-1].window // as the client will see it
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
