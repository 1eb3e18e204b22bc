// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestHold: a CONNECT that was given up is held until its connection is closed. One
// that was answered is not held.
func TestHold(t *testing.T) {
	p := newPKI(t)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		asked <- struct{}{}
		<-answer
		write(establishedLine)(c)
		_ = c.CloseWrite()
	}))
	held, ended := make(chan struct{}, 9), make(chan struct{}, 9)
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	done := make(chan error, 1)
	go func() {
		_, err := d.DialContext(ctx, target, func() func() {
			held <- struct{}{}
			return func() { ended <- struct{}{} }
		})
		done <- err
	}()
	waittest.Await(t, asked, "the request")
	giveUp()
	if err := waittest.Await(t, done, "the end of the dial"); tunnel.ReasonOf(err) != tunnel.ReasonCancelled {
		t.Errorf("the dial ended with %v, want %s", err, tunnel.ReasonCancelled)
	}
	if len(held) != 1 || len(ended) != 0 {
		t.Errorf("a dial that is still under way was held %d times, and let go %d times", len(held), len(ended))
	}
	answer <- struct{}{}
	waittest.Await(t, ended, "the end of the hold")

	close(answer)
	conn, err := d.DialContext(t.Context(), target, func() func() {
		t.Error("a dial that was answered is held on to")
		return func() {}
	})
	must(t, err)
	must(t, conn.Close())
}
