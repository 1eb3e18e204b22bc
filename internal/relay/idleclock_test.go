// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"net"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestIdleClock: a connection is idle if nothing has moved for the timeout. This is
// noticed up to a quarter of the timeout later. What the app's kernel acknowledges is
// movement.
func TestIdleClock(t *testing.T) {
	const timeout = 40 * time.Second
	began := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		name  string
		moved func(now time.Duration) time.Duration // relative to start
		acked func(now time.Duration) uint64
		least time.Duration // until it is idle; 0 means never
	}{
		{"nothing ever moves", at(0), constant(0), timeout},
		{"only the first byte of an answer was taken", at(0), constant(9), timeout},
		{"moved once, later", at(25 * time.Second), constant(0), 65 * time.Second},
		{"something moves now and then", func(now time.Duration) time.Duration { return now - now%(timeout-time.Second) }, constant(0), 0},
		{"the app takes what lies in the socket", at(0), func(now time.Duration) uint64 { return uint64(now / (20 * time.Second)) }, 0},
		{"and then it takes no more", at(0), func(now time.Duration) uint64 { return uint64(min(now, time.Minute)) }, time.Minute + timeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := idleClock{timeout: timeout}
			looks := 0
			for now := clock.interval(); now < time.Hour; looks++ {
				again, idle := clock.check(began.Add(now), began.Add(min(now, tt.moved(now))), tt.acked(now))
				if idle {
					if tt.least == 0 || now < tt.least || now > tt.least+timeout/checksPerTimeout {
						t.Errorf("reset after %s, want %s (0: never) or up to a quarter of the timeout later", now, tt.least)
					}
					return
				}
				if again <= 0 {
					t.Fatalf("the next look is in %s: that is a busy loop", again)
				}
				now += again
			}
			if tt.least != 0 {
				t.Errorf("not reset within an hour, want after %s", tt.least)
			}
			if most := int(time.Hour/timeout)*checksPerTimeout*2 + 1; looks > most {
				t.Errorf("%d looks in an hour, want %d at most", looks, most)
			}
		})
	}
}

func at(d time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return d }
}

func constant(n uint64) func(time.Duration) uint64 {
	return func(time.Duration) uint64 { return n }
}

// TestAckedGrowsWhileTheAppReads: acked grows while the app reads, after the relay has
// written everything.
func TestAckedGrowsWhileTheAppReads(t *testing.T) {
	app, side := slowApp(t)
	r := &relay{app: side}
	var err error
	r.raw, err = side.SyscallConn()
	must(t, err)
	before, err := r.acked()
	must(t, err)
	if before >= unreadBytes {
		t.Fatalf("the app's kernel took all %d bytes before the app has read any: the test shows nothing", unreadBytes)
	}
	readUntilAcked(t, app, r, before)
}

// unreadBytes is more than the kernel of a slowApp accepts without a read.
const unreadBytes = 256 << 10

// slowApp returns an app's connection and the relay's end of it, in which unreadBytes wait
// for the app.
func slowApp(t *testing.T) (app net.Conn, side *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	app, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	t.Cleanup(func() { _ = app.Close() })
	must(t, app.(*net.TCPConn).SetReadBuffer(4<<10))
	must(t, app.SetDeadline(time.Now().Add(waittest.Limit)))
	accepted, err := l.Accept()
	must(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	side = accepted.(*net.TCPConn)
	must(t, side.SetWriteBuffer(1<<20))
	_, err = side.Write(make([]byte, unreadBytes))
	must(t, err)
	return app, side
}

// readUntilAcked lets an app read until its kernel has acknowledged more bytes than before,
// and returns how many these are then.
func readUntilAcked(t *testing.T, app net.Conn, r *relay, before uint64) (after uint64) {
	t.Helper()
	waittest.Eventually(t, "the app's kernel to accept more", func() bool {
		_, err := app.Read(make([]byte, 4<<10))
		must(t, err)
		after, err = r.acked()
		must(t, err)
		return after > before
	})
	return after
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
