// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"net"
	"os"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// endingCarrier is a Carrier that a test breaks.
type endingCarrier struct {
	Carrier
	broken bool
}

func (*endingCarrier) Traits() tunnel.Traits {
	return tunnel.Traits{Backpressure: true, HalfClose: true, Resets: true}
}

func (c *endingCarrier) Broken() bool { return c.broken }

// TestUnreceivedTarget: an app that takes something between two looks gets what was sent
// before its target's end. One that takes nothing is not waited for.
func TestUnreceivedTarget(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	app, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer app.Close()
	side, err := l.Accept()
	must(t, err)
	defer side.Close()
	carrier := &endingCarrier{}
	d := newDirect(side.(*net.TCPConn), carrier, Options{Buffers: NewBuffers(1<<20, quota.New(8<<20))})
	defer d.account.Close()
	look := (*unreceivedTarget)(d).look
	takes := func() {
		t.Helper()
		before, err := d.acked()
		must(t, err)
		_, err = side.Write([]byte("x"))
		must(t, err)
		waittest.Eventually(t, "the app to take a byte", func() bool {
			now, err := d.acked()
			return err == nil && now > before
		})
	}
	for range 2 {
		if !look() {
			t.Fatal("an app is not waited for although its target has not ended")
		}
	}
	carrier.broken = true
	for range 3 {
		takes()
		if !look() {
			t.Fatal("an app is not waited for although it takes bytes")
		}
	}
	if look() {
		t.Error("an app is waited for that takes nothing")
	}
	if _, err := d.writer.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write to it ends with %v", err)
	}
}
