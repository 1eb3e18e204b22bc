// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/http2wire/wiretest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestRequest: a CONNECT has :method and :authority only (RFC 9113, section 8.5).
func TestRequest(t *testing.T) {
	p := dialPeer(t, Config{UserAgent: "test"})
	for _, target := range []string{"10.0.0.1:80", "[fd00::1]:443", "exit.example:9443"} {
		go func() { _, _ = p.c.Dial(t.Context(), target) }()
		f := p.WantHeaders()
		var got []string
		for _, h := range f.Fields {
			got = append(got, h.Name+" "+h.Value)
		}
		if got, want := strings.Join(got, ", "), ":method CONNECT, :authority "+target+", user-agent test"; got != want || f.StreamEnded() {
			t.Errorf("headers %s, want %s; ended: %v", got, want, f.StreamEnded())
		}
		p.SendHeaders(f.StreamID, false, ":status", "200")
	}
	for _, target := range []string{"", "a b:80", "a:80\r\nx: y", strings.Repeat("a", 300) + ":80"} {
		if _, err := p.c.Dial(t.Context(), target); err == nil {
			t.Errorf("a dial of %.20q", target)
		}
	}
	p.wantAlive()
}

// TestEnds: how a proxy ends a connection, and what Receive and Send then return.
func TestEnds(t *testing.T) {
	for _, tc := range []struct {
		name    string
		say     func(*scriptedPeer, uint32)
		receive []error // of one Receive after the other
		send    error
	}{
		{"CONNECT_ERROR", reset(http2.ErrCodeConnect), []error{tunnel.ErrReset, tunnel.ErrReset}, tunnel.ErrReset},
		{"CANCEL", reset(http2.ErrCodeCancel), []error{tunnel.ErrBroken}, tunnel.ErrBroken},
		{"INTERNAL_ERROR", reset(http2.ErrCodeInternal), []error{tunnel.ErrBroken}, tunnel.ErrBroken},
		{"NO_ERROR", reset(http2.ErrCodeNo), []error{tunnel.ErrBroken}, tunnel.ErrBroken},
		{"END_STREAM, then CONNECT_ERROR", both(endStream, reset(http2.ErrCodeConnect)), []error{tunnel.ErrReset, tunnel.ErrReset}, tunnel.ErrReset},
		{"END_STREAM, then NO_ERROR", both(endStream, reset(http2.ErrCodeNo)), []error{io.EOF, io.EOF}, tunnel.ErrReset},
		{"END_STREAM, then INTERNAL_ERROR", both(endStream, reset(http2.ErrCodeInternal)), []error{io.EOF, tunnel.ErrBroken}, tunnel.ErrBroken},
		{"trailers, then CONNECT_ERROR", both(func(p *scriptedPeer, id uint32) { p.SendHeaders(id, true, "x", "y") }, reset(http2.ErrCodeConnect)), []error{tunnel.ErrReset}, tunnel.ErrReset},
		{"the connection's end", func(p *scriptedPeer, _ uint32) { _ = p.Conn.Close() }, []error{tunnel.ErrBroken}, tunnel.ErrBroken},
		{"END_STREAM, then the connection's end", both(endStream, func(p *scriptedPeer, _ uint32) { _ = p.Conn.Close() }), []error{io.EOF, tunnel.ErrBroken}, tunnel.ErrBroken},
		{"HEADERS in the middle", func(p *scriptedPeer, id uint32) { p.SendHeaders(id, false, ":status", "200") }, []error{tunnel.ErrProtocol}, tunnel.ErrProtocol},
		{"more than the window", func(p *scriptedPeer, id uint32) {
			for range initialWindow/http2MaxFrame + 1 {
				_ = p.WriteData(id, false, make([]byte, http2MaxFrame))
			}
		}, []error{tunnel.ErrProtocol}, tunnel.ErrProtocol},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := dialPeer(t, Config{})
			s := p.open()
			tc.say(p, s.wire.ID())
			waittest.Eventually(t, "the end of the stream", s.wire.Over)
			for i, want := range tc.receive {
				if want == tunnel.ErrProtocol {
					for discarded := error(nil); discarded == nil && i == 0; { // what came before
						if _, discarded = s.Receive(); discarded != nil && !errors.Is(discarded, want) {
							t.Errorf("Receive: %v, want %v", discarded, want)
						}
					}
					continue
				}
				r := waittest.Await(t, receive(s), "the end of Receive")
				if !errors.Is(r.err, want) || errors.Is(r.err, io.EOF) != (want == io.EOF) {
					t.Errorf("Receive %d: %v, want %v", i, r.err, want)
				}
			}
			if err := s.Send([]byte("x")); !errors.Is(err, tc.send) {
				t.Errorf("Send: %v, want %v", err, tc.send)
			}
			if err := s.CloseWrite(); tc.name != "END_STREAM, then NO_ERROR" && !errors.Is(err, tc.send) {
				t.Errorf("CloseWrite: %v, want %v", err, tc.send)
			} else if tc.name == "END_STREAM, then NO_ERROR" && err != nil {
				t.Errorf("CloseWrite to a target that is gone: %v", err)
			}
			must(t, s.Close())
			must(t, s.Abort())
		})
	}
}

// http2MaxFrame is the length of a frame that every peer may send.
const http2MaxFrame = 16 << 10

func reset(code http2.ErrCode) func(*scriptedPeer, uint32) {
	return func(p *scriptedPeer, id uint32) { must(p.t, p.WriteRSTStream(id, code)) }
}

func endStream(p *scriptedPeer, id uint32) { must(p.t, p.WriteData(id, true, nil)) }

func both(a, b func(*scriptedPeer, uint32)) func(*scriptedPeer, uint32) {
	return func(p *scriptedPeer, id uint32) { a(p, id); b(p, id) }
}

// TestResetBehindAToldEnd: a reset arrives, although Receive has returned the target's end.
func TestResetBehindAToldEnd(t *testing.T) {
	p := dialPeer(t, Config{})
	s := p.open()
	endStream(p, s.wire.ID())
	if r := waittest.Await(t, receive(s), "the target's end"); r.err != io.EOF {
		t.Fatalf("received %+v, want io.EOF", r)
	}
	again := receive(s)
	must(t, s.Send([]byte("still sending")))
	reset(http2.ErrCodeConnect)(p, s.wire.ID())
	if r := waittest.Await(t, again, "the reset"); !errors.Is(r.err, tunnel.ErrReset) {
		t.Errorf("Receive: %v, want ErrReset", r.err)
	}
}

// TestLastBytes: what came before an end or a reset is received before it.
func TestLastBytes(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(*scriptedPeer, uint32)
		want error
	}{"an end": {endStream, io.EOF}, "a reset": {reset(http2.ErrCodeConnect), tunnel.ErrReset}} {
		t.Run(name, func(t *testing.T) {
			p := dialPeer(t, Config{})
			s := p.open()
			last := wiretest.Text(200_000)
			for rest := last; rest != ""; rest = rest[min(len(rest), 10_000):] {
				must(t, p.WriteData(s.wire.ID(), false, []byte(rest[:min(len(rest), 10_000)])))
			}
			tc.end(p, s.wire.ID())
			wantReceive(t, s, last)
			if r := waittest.Await(t, receive(s), "the end"); !errors.Is(r.err, tc.want) {
				t.Errorf("behind the last byte: %v, want %v", r.err, tc.want)
			}
		})
	}
}

// TestOurEnds: what Close, Abort and CloseWrite tell the proxy.
func TestOurEnds(t *testing.T) {
	t.Run("Close", func(t *testing.T) {
		p := dialPeer(t, Config{})
		s := p.open()
		got := receive(s)
		must(t, s.Close())
		p.WantReset(s.wire.ID(), http2.ErrCodeCancel)
		if r := waittest.Await(t, got, "the end of Receive"); !errors.Is(r.err, tunnel.ErrClosed) {
			t.Errorf("Receive: %v, want ErrClosed", r.err)
		}
		if err := s.Send([]byte("x")); !errors.Is(err, tunnel.ErrClosed) {
			t.Errorf("Send: %v, want ErrClosed", err)
		}
	})
	t.Run("Abort", func(t *testing.T) {
		p := dialPeer(t, Config{})
		s := p.open()
		must(t, s.Abort())
		p.WantReset(s.wire.ID(), http2.ErrCodeConnect)
	})
	t.Run("Abort behind CloseWrite", func(t *testing.T) {
		p := dialPeer(t, Config{})
		s := p.open()
		must(t, s.CloseWrite())
		must(t, s.Abort())
		if f := p.WantData(); !f.StreamEnded() {
			t.Errorf("%v in place of END_STREAM", f)
		}
		p.WantReset(s.wire.ID(), http2.ErrCodeConnect)
	})
	t.Run("both directions", func(t *testing.T) {
		p := dialPeer(t, Config{})
		s := p.open()
		must(t, s.Send([]byte("all of it")))
		must(t, s.CloseWrite())
		must(t, s.CloseWrite()) // the second changes nothing
		if f := p.WantData(); string(f.Data()) != "all of it" || f.StreamEnded() {
			t.Errorf("the client sent %v", f)
		}
		if f := p.WantData(); !f.StreamEnded() {
			t.Errorf("%v in place of END_STREAM", f)
		}
		if err := s.Send([]byte("x")); !errors.Is(err, tunnel.ErrClosed) {
			t.Errorf("Send behind CloseWrite: %v, want ErrClosed", err)
		}
		got := receive(s)
		must(t, p.WriteData(s.wire.ID(), false, []byte("an answer")))
		if r := waittest.Await(t, got, "the answer"); r.text != "an answer" {
			t.Errorf("received %+v", r)
		}
		endStream(p, s.wire.ID())
		for range 2 {
			if r := waittest.Await(t, receive(s), "the end"); r.err != io.EOF {
				t.Errorf("received %+v, want io.EOF", r)
			}
		}
		if n := p.c.Streams(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
		must(t, s.Abort()) // sends nothing, as wantAlive then sees
		p.wantAlive()
	})
}

// TestDialEnds: a dial that fails says whether another connection may serve it.
func TestDialEnds(t *testing.T) {
	for _, tc := range []struct {
		name  string
		say   func(*scriptedPeer, uint32)
		want  error
		retry bool
	}{
		{"GOAWAY", func(p *scriptedPeer, id uint32) { must(p.t, p.WriteGoAway(id-2, http2.ErrCodeNo, nil)) }, tunnel.ErrBroken, true},
		{"the connection's end", func(p *scriptedPeer, _ uint32) { _ = p.Conn.Close() }, tunnel.ErrBroken, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := dialPeer(t, Config{})
			old := p.open()
			done, id := p.begin(t.Context(), "10.0.0.1:80")
			tc.say(p, id)
			err := waittest.Await(t, done, "the end of the dial").err
			if !errors.Is(err, tc.want) || errors.Is(err, ErrUnprocessed) != tc.retry {
				t.Errorf("the dial ended with %v; ErrUnprocessed: %v, want %v", err, errors.Is(err, ErrUnprocessed), tc.retry)
			}
			if tc.name == "GOAWAY" { // what the proxy still serves goes on
				must(t, p.WriteData(old.wire.ID(), false, []byte("on and on")))
				wantReceive(t, old, "on and on")
				if _, err := p.c.Dial(t.Context(), "10.0.0.1:80"); !errors.Is(err, ErrUnprocessed) {
					t.Errorf("a dial after GOAWAY: %v", err)
				}
			}
		})
	}
	t.Run("its caller gives up", func(t *testing.T) {
		p := dialPeer(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		done, id := p.begin(ctx, "10.0.0.1:80")
		cancel()
		if err := waittest.Await(t, done, "the end of the dial").err; !errors.Is(err, context.Canceled) {
			t.Errorf("the dial ended with %v", err)
		}
		p.WantReset(id, http2.ErrCodeCancel)
		p.SendHeaders(id, false, ":status", "200") // too late
		p.wantAlive()
	})
	t.Run("no room", func(t *testing.T) {
		p := dialPeer(t, Config{}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		p.open()
		if _, err := p.c.Dial(t.Context(), "10.0.0.1:80"); !errors.Is(err, ErrFull) {
			t.Errorf("a second stream of one: %v, want ErrFull", err)
		}
	})
}

// TestRefusals: the status, and what Proxy-Status says. The stream ends in order.
func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name  string
		pairs []string
		body  string
		want  Refusal
	}{
		{"Proxy-Status", []string{":status", "502", "proxy-status", `exit; error=connection_refused; details="no one listens"`}, "", Refusal{502, "connection_refused", "no one listens"}},
		{"with a body", []string{":status", "503", "content-type", "text/plain", "proxy-status", "exit; error=dns_error"}, "no such host", Refusal{503, "dns_error", ""}},
		{"nothing but a status", []string{":status", "403"}, "", Refusal{Status: 403}},
		{"Proxy-Status that is none", []string{":status", "502", "proxy-status", `exit; error=dns_error; "`}, "", Refusal{Status: 502}},
		{"a status that is none", []string{":status", "20"}, "", Refusal{}},
		{"a redirect", []string{":status", "302", "location", "/"}, "", Refusal{Status: 302}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := dialPeer(t, Config{})
			done, id := p.begin(t.Context(), "10.0.0.1:80")
			p.SendHeaders(id, tc.body == "", tc.pairs...)
			err := waittest.Await(t, done, "the end of the dial").err
			if got, ok := errors.AsType[*Refusal](err); !ok || *got != tc.want {
				t.Errorf("the dial ended with %#v, want %+v", err, tc.want)
			}
			if f := p.WantData(); f.StreamID != id || !f.StreamEnded() {
				t.Errorf("%v in place of END_STREAM", f)
			}
			if tc.body != "" {
				must(t, p.WriteData(id, true, []byte(tc.body)))
			}
			p.wantAlive() // which also sees that there is no other reset
			if n := p.c.Streams(); n != 0 {
				t.Errorf("%d streams are left", n)
			}
		})
	}
}

// TestRefusalWithoutEnd: a refusal whose body does not end is reset. Its body is bounded
// by its window.
func TestRefusalWithoutEnd(t *testing.T) {
	p := dialPeer(t, byHand)
	done, id := p.begin(t.Context(), "10.0.0.1:80")
	p.SendHeaders(id, false, ":status", "503")
	waittest.Await(t, done, "the end of the dial")
	waittest.Eventually(t, "the refusal to wait for its body", func() bool {
		p.c.refusals.mu.Lock()
		defer p.c.refusals.mu.Unlock()
		return len(p.c.refusals.young) == 1
	})
	p.c.refusals.sweep()
	if n := p.c.Streams(); n != 1 {
		t.Errorf("%d streams, want that of the refusal", n)
	}
	p.c.refusals.sweep()
	p.WantReset(id, http2.ErrCodeCancel)
	for range maxRefusals + 1 {
		done, id = p.begin(t.Context(), "10.0.0.1:80")
		p.SendHeaders(id, false, ":status", "503")
		waittest.Await(t, done, "the end of the dial")
	}
	p.WantReset(id, http2.ErrCodeCancel)
	if n := p.c.Streams(); n != maxRefusals {
		t.Errorf("%d streams wait for their bodies, want %d", n, maxRefusals)
	}
}

// TestAnswers: 2xx is success, with whatever headers, and after interim responses.
func TestAnswers(t *testing.T) {
	p := dialPeer(t, Config{Server: "the server"})
	for _, pairs := range [][]string{{":status", "200"}, {":status", "200", "content-length", "0", "via", "2 proxy"}, {":status", "299"}} {
		done, id := p.begin(t.Context(), "10.0.0.1:80")
		p.SendHeaders(id, false, ":status", "103", "link", "x")
		p.SendHeaders(id, false, pairs...)
		d := waittest.Await(t, done, "the end of the dial")
		must(t, d.err)
		must(t, p.WriteData(id, false, []byte("hello"))) // whatever content-length says
		wantReceive(t, d.Stream, "hello")
		if d.Server() != "the server" {
			t.Errorf("its server is %q", d.Server())
		}
	}
	done, id := p.begin(t.Context(), "10.0.0.1:80")
	p.SendHeaders(id, true, ":status", "200") // and the target has closed already
	d := waittest.Await(t, done, "the end of the dial")
	must(t, d.err)
	if r := waittest.Await(t, receive(d.Stream), "the end"); r.err != io.EOF {
		t.Errorf("received %+v, want io.EOF", r)
	}
}
