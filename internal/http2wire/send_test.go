// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestSharedRoomIsShared: if many streams wait for the connection's window, each gets a
// share.
func TestSharedRoomIsShared(t *testing.T) {
	const streams, size, step = 8, 200_000, 40_000
	p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	var sending sync.WaitGroup
	got := map[uint32]int{}
	var all []*Stream
	for range streams {
		s, _ := p.open()
		all = append(all, s)
		got[s.id] = 0
	}
	for _, s := range all {
		sending.Go(func() {
			if err := s.Send(&Payload{make([]byte, size)}, false); err != nil {
				t.Error(err)
			}
		})
	}
	total, given := 0, initialWindowBytes-streams*len(greeting)
	for total < streams*size {
		if total == given {
			if given < initialWindowBytes {
				p.awaitQueue(streams) // a stream that has not begun to send gets nothing
			}
			must(t, p.WriteWindowUpdate(0, step))
			given += step
		}
		f := p.WantData()
		total += len(f.Data())
		got[f.StreamID] += len(f.Data())
		for id, n := range got {
			if total == given && total > given/2 && total > streams*size*3/4 && n < size/8 {
				t.Errorf("stream %d has got %d of %d bytes, when all have got %d", id, n, size, total)
			}
		}
	}
	sending.Wait()
	for id, n := range got {
		if n != size {
			t.Errorf("stream %d has sent %d bytes, want %d", id, n, size)
		}
	}
}

// awaitQueue waits until n streams are in waitQueue.
func (p *scriptedPeer) awaitQueue(n int) {
	p.t.Helper()
	for began := time.Now(); ; runtime.Gosched() {
		p.c.mu.Lock()
		waiting := len(p.c.waitQueue)
		p.c.mu.Unlock()
		if waiting == n {
			return
		}
		if time.Since(began) > hangTimeout {
			p.t.Fatalf("%d streams wait, want %d", waiting, n)
		}
	}
}

// TestServerThatDoesNotRead: no caller blocks in a write to a server that reads nothing
// any more. Sends wait, and end with their streams. Frames of the server are still
// processed.
func TestServerThatDoesNotRead(t *testing.T) {
	p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	must(t, p.WriteWindowUpdate(0, 1<<31-1-initialWindowBytes))
	sent := make(chan error, 100)
	var streams []*Stream
	var ears []*recorder
	for range 10 {
		s, h := p.open()
		streams, ears = append(streams, s), append(ears, h)
	}
	for _, s := range streams {
		go func() {
			for {
				if err := s.Send(&Payload{make([]byte, 1<<20)}, false); err != nil {
					sent <- err
					return
				}
			}
		}()
	}
	for full := false; !full; time.Sleep(time.Millisecond) {
		p.c.mu.Lock()
		full = p.c.handedOff && len(p.c.out) >= sendWaitBytes && len(p.c.waitQueue) > 0
		p.c.mu.Unlock()
	}
	must(t, p.WriteData(streams[0].id, false, []byte("x")))
	waittest.Await(t, ears[0].data, "data, while nothing can be written")
	for _, s := range streams {
		s.Reset(http2.ErrCodeCancel)
		if err := waittest.Await(t, sent, "the end of Send"); err != io.EOF {
			t.Errorf("Send ended with %v, want io.EOF", err)
		}
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if n := len(p.c.out); n > sendWaitBytes+MaxFrame+1000 {
		t.Errorf("%d bytes wait to be written, and there is room for %d", n, sendWaitBytes)
	}
}
