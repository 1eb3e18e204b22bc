// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"fmt"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/http2wire/wiretest"
)

// TestTrySendIsWhole: TrySend queues all of a Payload or nothing of it, for any free
// space.
func TestTrySendIsWhole(t *testing.T) {
	const window = 1 << 20
	for _, size := range []int{0, 10, MaxFrame - 1, MaxFrame, 40_960, 3 * MaxFrame, sendWaitBytes, 200_000} {
		for _, full := range []int{0, sendWaitBytes - 3*MaxFrame, sendWaitBytes - 50_000, sendWaitBytes - 10_000, sendWaitBytes - 20, sendWaitBytes - 1, sendWaitBytes} {
			t.Run(fmt.Sprintf("%d bytes behind %d", size, full), func(t *testing.T) {
				p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
				must(t, p.WriteWindowUpdate(0, window))
				s, _ := p.open()
				must(t, p.WritePing(false, [8]byte{}))
				p.Want("PING ack", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
				c := p.c
				c.mu.Lock()
				for c.writing {
					c.writeDone.Wait()
				}
				c.writing = true // by this test
				c.out = append(c.out, make([]byte, full)...)
				before, allowed, shared := len(c.out), s.sendWindow, c.peer.window
				c.mu.Unlock()

				sent, err := s.TrySend(&Payload{[]byte(wiretest.Text(size / 3)), []byte(wiretest.Text(size - size/3))})
				must(t, err)
				c.mu.Lock()
				put, spent := len(c.out)-before, allowed-s.sendWindow
				c.out, c.writing = nil, false
				if spent != shared-c.peer.window {
					t.Errorf("it takes %d bytes of the stream's window and %d of the connection's", spent, shared-c.peer.window)
				}
				c.mu.Unlock()
				whole := size
				switch framed := whole + (whole+MaxFrame-1)/MaxFrame*frameHeaderBytes; {
				case sent && (spent != whole || put != framed):
					t.Errorf("it was sent, and %d bytes of %d are there", spent, whole)
				case !sent && (spent != 0 || put != 0):
					t.Errorf("it was not sent, and %d bytes of %d are there", spent, whole)
				case !sent && before+framed <= sendWaitBytes:
					t.Errorf("it was not sent, and there is room for %d bytes", sendWaitBytes-before)
				}
			})
		}
	}
}
