// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestWatchLooksAtItsEnd: an app that has given up is noticed, also if the dial ends before
// the goroutine that watches the app has looked at it.
func TestWatchLooksAtItsEnd(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	app, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := watchApp(conn.(*net.TCPConn), func() {}, func() relay.AppState { return relay.AppUnknown })
	w.timer.Stop() // as Begin does, whose goroutine does not run yet
	if err := relay.Reset(app.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the reset to arrive", w.check)
	_ = conn.SetReadDeadline(time.Unix(1, 0)) // as stop does
	w.run()
	if !w.stop() {
		t.Error("the app has given up, and nobody has noticed")
	}
}
