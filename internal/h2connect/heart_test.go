// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/http2wire/wiretest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// byHand makes a test call beat, instead of timers.
var byHand = Config{PingInterval: time.Hour, PingTimeout: time.Hour}

// wantPing reads up to the next PING, and returns its payload.
func (p *scriptedPeer) wantPing() [8]byte {
	p.t.Helper()
	return p.Want("PING", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok }).(*http2.PingFrame).Data
}

// TestSilentPeer: a peer that answers no PING loses its connection. Its streams end with an
// error, also one whose target has ended its direction.
func TestSilentPeer(t *testing.T) {
	p := dialPeer(t, byHand)
	s, ended := p.open(), p.open()
	endStream(p, ended.wire.ID())
	if r := waittest.Await(t, receive(ended), "the end of its target"); r.err != io.EOF {
		t.Fatalf("received %+v, want io.EOF", r)
	}
	p.c.heart.beat() // the peer has said something since the first PING
	p.c.heart.beat()
	for _, s := range []*Stream{s, ended} {
		if r := waittest.Await(t, receive(s), "the end of Receive"); !errors.Is(r.err, tunnel.ErrBroken) || !errors.Is(r.err, ErrSilent) {
			t.Errorf("Receive: %v, want ErrBroken and ErrSilent", r.err)
		}
	}
	waittest.Await(t, p.ran, "the end of Run")
	if !errors.Is(p.c.Err(), ErrSilent) {
		t.Errorf("the connection ended with %v, want ErrSilent", p.c.Err())
	}
}

// TestPeerThatAnswersLate: a peer that says something within PingTimeout keeps its
// connection, although further PINGs have been sent. TCP sends again what a partition has
// held up only after up to twice its time.
func TestPeerThatAnswersLate(t *testing.T) {
	p := dialPeer(t, Config{PingInterval: time.Hour, PingTimeout: 3 * time.Hour})
	h := &p.c.heart
	for range 3 {
		p.wantAlive()
		h.beat() // the peer has said something
		h.beat()
		h.beat()
	}
	p.wantAlive()
	h.beat()
	for range 3 {
		if err := p.c.Err(); err != nil {
			t.Fatalf("the connection ended with %v before PingTimeout", err)
		}
		h.beat()
	}
	waittest.Await(t, p.ran, "the end of Run")
	if !errors.Is(p.c.Err(), ErrSilent) {
		t.Errorf("the connection ended with %v, want ErrSilent", p.c.Err())
	}
}

// TestPeerThatAnswers: a peer that does nothing but answer PINGs keeps its connection.
func TestPeerThatAnswers(t *testing.T) {
	p := dialPeer(t, byHand)
	for range 10 {
		p.c.heart.beat()
		ping, before := p.wantPing(), p.c.wire.Reads()
		must(t, p.WritePing(true, ping))
		waittest.Eventually(t, "the answer to be read", func() bool { return p.c.wire.Reads() > before })
	}
	p.wantAlive()
}

// TestQuiet: a peer is quiet while a PING has had no answer for a while, and only then.
func TestQuiet(t *testing.T) {
	p := dialPeer(t, Config{PingInterval: time.Hour, PingTimeout: 3 * time.Hour})
	h := &p.c.heart
	passed := func() { // the time until a missing answer counts
		h.mu.Lock()
		defer h.mu.Unlock()
		h.asked = h.asked.Add(-quietAfter)
	}
	if passed(); p.c.Quiet() {
		t.Fatal("a peer is quiet that was not asked")
	}
	for range 3 {
		h.beat()
		ping := p.wantPing()
		if passed(); !p.c.Quiet() {
			t.Fatal("a peer that has not answered is not quiet")
		}
		if h.beat(); !p.c.Quiet() {
			t.Fatal("a peer that has not answered is not quiet after another PING")
		}
		p.wantPing()
		must(t, p.WritePing(true, ping))
		waittest.Eventually(t, "the answer to end the quiet", func() bool { return !p.c.Quiet() })
	}
}

// TestNoAnswerAtAll: a peer that accepts a connection and says nothing is noticed without
// any deadline of the caller's.
func TestNoAnswerAtAll(t *testing.T) {
	client, server := wiretest.Pair(t)
	defer server.Close()
	socket := http2wire.NewSocket(client)
	c := New(socket, socket, Config{PingInterval: time.Millisecond, PingTimeout: 10 * time.Millisecond})
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		c.Run()
	}()
	if err := c.Ready(t.Context()); !errors.Is(err, ErrSilent) {
		t.Errorf("Ready: %v, want ErrSilent", err)
	}
	waittest.Await(t, ran, "the end of Run")
}
