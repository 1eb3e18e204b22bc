// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"fmt"
	"testing"

	"golang.org/x/net/http2"
)

// TestTrySendIsWhole: TrySend puts all of a message into the buffer or nothing of
// it, however little room there is.
func TestTrySendIsWhole(t *testing.T) {
	const window = 1 << 20
	for _, size := range []int{0, 10, maxFrame - prefix, maxFrame, 40_960, 3 * maxFrame, room, 200_000} {
		for _, full := range []int{0, room - 3*maxFrame, room - 50_000, room - 10_000, room - 20, room - 1, room} {
			t.Run(fmt.Sprintf("%d bytes behind %d", size, full), func(t *testing.T) {
				p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
				must(t, p.WriteWindowUpdate(0, window))
				s, _ := p.open()
				must(t, p.WritePing(false, [8]byte{}))
				p.want("PING ack", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
				c := p.c
				c.mu.Lock()
				for c.writing {
					c.written.Wait()
				}
				c.writing = true // by this test
				c.out = append(c.out, make([]byte, full)...)
				before, allowed, shared := len(c.out), s.allowed, c.peer.window
				c.mu.Unlock()

				sent, err := s.TrySend([]byte(text(size)))
				must(t, err)
				c.mu.Lock()
				put, spent := len(c.out)-before, allowed-s.allowed
				c.out, c.writing = nil, false
				if spent != shared-c.peer.window {
					t.Errorf("it takes %d bytes of the stream's window and %d of the connection's", spent, shared-c.peer.window)
				}
				c.mu.Unlock()
				whole := prefix + size
				switch framed := whole + (whole+maxFrame-1)/maxFrame*frameHead; {
				case sent && (spent != whole || put != framed):
					t.Errorf("it was sent, and %d bytes of %d are there", spent, whole)
				case !sent && (spent != 0 || put != 0):
					t.Errorf("it was not sent, and %d bytes of %d are there", spent, whole)
				case !sent && before+framed <= room:
					t.Errorf("it was not sent, and there is room for %d bytes", room-before)
				}
			})
		}
	}
}
