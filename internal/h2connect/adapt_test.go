// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestWindowsFollowTheQuota: if memory becomes scarce and is free again at the same moment,
// the proxy has the window that fits the later one.
func TestWindowsFollowTheQuota(t *testing.T) {
	const rounds = 100
	held := quota.New(2 << 20)
	other := held.Open(nil)
	defer other.Close()
	p := dialPeer(t, Config{Quota: held, PingInterval: time.Hour, PingTimeout: time.Hour})
	must(t, p.WriteSettingsAck()) // of the preface
	var told atomic.Int64         // the window of the last SETTINGS
	told.Store(initialWindow)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
				window, _ := s.Value(http2.SettingInitialWindowSize)
				told.Store(int64(window))
				_ = p.WriteSettingsAck()
			}
		}
	}()
	t.Cleanup(func() { <-over })
	defer p.Conn.Close()
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() { // delays what needs the connection
		for {
			select {
			case <-stop:
				return
			default:
				p.c.wire.Unacknowledged()
			}
		}
	})
	for i := range rounds {
		other.Take(3 << 19)
		var narrow sync.WaitGroup
		narrow.Go(p.c.adapt)
		for p.c.base.Load() == initialWindow {
		}
		other.Give(3 << 19)
		p.c.adapt()
		narrow.Wait()
		for began := time.Now(); p.c.wire.Unacknowledged() != 0; time.Sleep(10 * time.Microsecond) {
			if time.Since(began) > waittest.Limit {
				t.Fatal("no acknowledgement")
			}
		}
		if base := p.c.base.Load(); told.Load() != base {
			t.Errorf("round %d: the proxy has a window of %d bytes, and should have %d", i, told.Load(), base)
			break
		}
	}
	close(stop)
	busy.Wait()
}
