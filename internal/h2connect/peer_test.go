// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"context"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/http2wire/wiretest"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// scriptedPeer is a proxy that sends what a test says, together with the Conn to it.
type scriptedPeer struct {
	*wiretest.Peer
	t   *testing.T
	c   *Conn
	ran chan struct{} // closed when Run has returned
}

// dialPeer returns a peer that has read the client's preface and sent settings.
func dialPeer(t *testing.T, cfg Config, settings ...http2.Setting) *scriptedPeer {
	t.Helper()
	client, conn := wiretest.Pair(t)
	socket := http2wire.NewSocket(client)
	p := &scriptedPeer{t: t, c: New(socket, socket, cfg), ran: make(chan struct{})}
	go func() {
		defer close(p.ran)
		p.c.Run()
	}()
	t.Cleanup(func() {
		_ = p.c.Close()
		_ = conn.Close()
		waittest.Await(t, p.ran, "the end of Run")
	})
	p.Peer = wiretest.New(t, conn)
	must(t, p.WriteSettings(settings...))
	ctx, cancel := context.WithTimeout(t.Context(), waittest.Limit)
	defer cancel()
	must(t, p.c.Ready(ctx))
	p.WantAck()
	return p
}

// dialed is the result of a Dial.
type dialed struct {
	*Stream
	err error
}

// begin begins a dial, and returns its stream's number.
func (p *scriptedPeer) begin(ctx context.Context, target string) (<-chan dialed, uint32) {
	p.t.Helper()
	done := make(chan dialed, 1)
	go func() {
		s, err := p.c.Dial(ctx, target)
		done <- dialed{s, err}
	}()
	return done, p.WantHeaders().StreamID
}

// open dials, and accepts the dial.
func (p *scriptedPeer) open() *Stream {
	p.t.Helper()
	done, id := p.begin(p.t.Context(), "10.0.0.1:80")
	p.SendHeaders(id, false, ":status", "200")
	d := waittest.Await(p.t, done, "the end of the dial")
	must(p.t, d.err)
	return d.Stream
}

// wantAlive checks that a new stream works.
func (p *scriptedPeer) wantAlive() {
	p.t.Helper()
	s := p.open()
	must(p.t, p.WriteData(s.wire.ID(), false, []byte("still there")))
	wantReceive(p.t, s, "still there")
	must(p.t, s.Close())
	p.WantReset(s.wire.ID(), http2.ErrCodeCancel)
}

// received is the result of a Receive.
type received struct {
	text string
	err  error
}

// receive calls Receive in the background.
func receive(s *Stream) <-chan received {
	done := make(chan received, 1)
	go func() {
		p, err := s.Receive()
		done <- received{string(p), err}
	}()
	return done
}

func wantReceive(t *testing.T, s *Stream, want string) {
	t.Helper()
	for got := ""; got != want; {
		r := waittest.Await(t, receive(s), "the end of Receive")
		if got += r.text; r.err != nil || len(got) > len(want) || got != want[:len(got)] {
			t.Fatalf("received %d bytes %.40q and %v, want %d bytes %.40q", len(got), got, r.err, len(want), want)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
