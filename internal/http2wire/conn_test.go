// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"errors"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestUsedUp: a connection takes as many streams as there are numbers. It calls
// Draining before the last one. Its streams continue.
func TestUsedUp(t *testing.T) {
	p := dialPeer(t, testConfig())
	old, told := p.open()
	p.c.mu.Lock()
	p.c.nextID = lastStreamID - 2*reservedStreams - 2
	p.c.mu.Unlock()
	p.open()
	select {
	case <-p.draining:
		t.Error("Draining ahead of its time")
	default:
	}
	p.open()
	waittest.Await(t, p.draining, "Draining")
	p.c.mu.Lock()
	p.c.nextID = lastStreamID
	p.c.mu.Unlock()
	last, _ := p.open()
	if last.id != lastStreamID {
		t.Errorf("the last stream is %d", last.id)
	}
	for range 2 {
		if err := p.c.Open(new(Stream), newRecorder(), nil, false); !errors.Is(err, ErrUsedUp) || errors.Is(err, ErrFull) {
			t.Errorf("a stream without a number: %v, want ErrUsedUp", err)
		}
	}
	must(t, p.WriteData(old.id, false, []byte("still there")))
	waittest.Await(t, told.data, "data on an old stream")
}

// TestFloodOfPings: a server that sends pings and does not read the answers loses the
// connection.
func TestFloodOfPings(t *testing.T) {
	p := dialPeer(t, testConfig())
	_, h := p.open()
	for p.WritePing(false, [8]byte{}) == nil {
	}
	err := waittest.Await(t, h.ended, "the end of the stream")
	if words := "asks for more answers than it takes"; !strings.Contains(err.Error(), words) {
		t.Errorf("the stream ended with %v, want the words %q", err, words)
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if n := len(p.c.out); n > maxQueuedAnswers*20 {
		t.Errorf("%d bytes of answers were kept", n)
	}
}
