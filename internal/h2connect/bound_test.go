// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"errors"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestUnacknowledgedSettings: a proxy that does not acknowledge narrower windows may send
// more than the quota. It loses the connection when nothing is left of that.
func TestUnacknowledgedSettings(t *testing.T) {
	held := quota.New(2 << 20)
	p := dialPeer(t, Config{Quota: held, PingInterval: time.Hour, PingTimeout: time.Hour})
	must(t, p.WriteSettingsAck()) // of the preface, and of no other
	var all []*Stream
	for range 16 {
		all = append(all, p.open())
	}
	for _, s := range all[:9] {
		p.fill(s.wire.ID(), initialWindow)
	}
	waittest.Eventually(t, "the quota to be used up", func() bool { return !held.Room(0) })
	if err := p.c.Err(); err != nil {
		t.Errorf("the connection has ended too early: %v", err)
	}
	waittest.Eventually(t, "the connection to end", func() bool {
		p.c.adapt()
		return errors.Is(p.c.Err(), ErrSettings)
	})
}

// TestSettingsTimeout: a proxy that acknowledges no SETTINGS loses the connection, also
// where nothing is scarce.
func TestSettingsTimeout(t *testing.T) {
	p := dialPeer(t, Config{Quota: quota.New(2 << 20)})
	if p.c.checkSettings(time.Hour); p.c.Err() != nil {
		t.Errorf("the connection has ended too early: %v", p.c.Err())
	}
	p.c.checkSettings(0)
	if err := p.c.Err(); !errors.Is(err, ErrSettings) {
		t.Errorf("the connection's error is %v, want %v", err, ErrSettings)
	}
}
