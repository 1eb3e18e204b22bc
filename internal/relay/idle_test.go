// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/relay"
)

// TestIdle: if nothing moves for too long, the app gets RST. An end of file would look
// like the target's.
func TestIdle(t *testing.T) {
	r := start(t, relay.Options{IdleTimeout: 300 * time.Millisecond})
	_, err := io.WriteString(r.app, "hello")
	must(t, err)
	r.tun.incoming <- []byte("welcome")
	r.wantReset(t, "welcome")
	if res := r.finish(t, relay.Idle); res.Err == nil || !strings.Contains(res.Err.Error(), "300ms") {
		t.Errorf("the error is %v, want one that tells the timeout", res.Err)
	}
}

// TestIdleAndHalfClosed: an app that has half-closed may wait for the target as long as
// any connection may be idle.
func TestIdleAndHalfClosed(t *testing.T) {
	r := start(t, relay.Options{IdleTimeout: 300 * time.Millisecond, AppState: func() relay.AppState { return relay.AppHalfClosed }})
	must(t, r.app.CloseWrite())
	r.wantReset(t, "")
	r.finish(t, relay.Idle)
}

// TestIdleLeavesAnEndAlone: after the app has closed, its last bytes get their time,
// however short the idle timeout is.
func TestIdleLeavesAnEndAlone(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 100)
	r := start(t, relay.Options{IdleTimeout: time.Second, AppState: func() relay.AppState {
		asked <- struct{}{}
		return relay.AppGone
	}})
	_, err := io.WriteString(r.app, "last words")
	must(t, err)
	must(t, r.app.Close())
	r.finish(t, relay.AppClosed)
	if got := r.tun.got(); got != "last words" || len(asked) == 0 {
		t.Errorf("the target got %q", got)
	}
}
