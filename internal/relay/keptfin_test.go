// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestFINIsKeptBack: on a way without half-closes an app's FIN is not passed on.
func TestFINIsKeptBack(t *testing.T) {
	for _, tc := range []struct {
		name  string
		state relay.AppState
		want  relay.CloseReason
	}{
		{"the app waits", relay.AppHalfClosed, relay.HalfCloseUnsupported},
		{"the app is gone", relay.AppGone, relay.AppClosed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := openRelayed(t, backpressure, relay.Options{HalfCloseTimeout: 100 * time.Millisecond, AppState: func() relay.AppState { return tc.state }})
			must(t, w.app.CloseWrite())
			if r := w.ended(t); r.Reason != tc.want {
				t.Errorf("the reason is %s (%v), want %s", r.Reason, r.Err, tc.want)
			}
			if _, err := w.target.Read(make([]byte, 1)); outcome(err) != "end" {
				t.Errorf("the target sees %s, want the end of what is whole", outcome(err))
			}
			if tc.state == relay.AppHalfClosed {
				if _, err := io.ReadAll(w.app); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the app sees %v, want a reset", err)
				}
			}
		})
	}
}

// TestAnUploadThatIsNotWholeIsReset: an app that resets in its upload is a reset for the
// target. One that has sent FIN before it resets has sent everything: if the way does not
// carry half-closes, the target sees an end.
func TestAnUploadThatIsNotWholeIsReset(t *testing.T) {
	for _, finished := range []bool{false, true} {
		t.Run(map[bool]string{false: "before FIN", true: "behind FIN"}[finished], func(t *testing.T) {
			t.Parallel()
			asked, want, reason := make(chan struct{}, 100), "reset", relay.AppReset
			w := openRelayed(t, backpressure, relay.Options{AppState: func() relay.AppState {
				asked <- struct{}{}
				return relay.AppHalfClosed
			}})
			_, err := w.app.Write([]byte("hello"))
			must(t, err)
			_, err = io.ReadFull(w.target, make([]byte, 5))
			must(t, err)
			if finished {
				want, reason = "end", relay.AppClosed
				must(t, w.app.CloseWrite())
				<-asked
			}
			must(t, relay.Reset(w.app))
			if finished {
				_, err := w.target.Write([]byte("x")) // which the app does not want any more
				must(t, err)
			}
			if r := w.ended(t); r.Reason != reason {
				t.Errorf("the reason is %s (%v), want %s", r.Reason, r.Err, reason)
			}
			if _, err := w.target.Read(make([]byte, 1)); outcome(err) != want {
				t.Errorf("the target sees %s, want %s", outcome(err), want)
			}
		})
	}
}

// noted is a way that notes whether it was aborted.
type noted struct {
	*tcpCarrier
	aborted atomic.Bool
}

func (n *noted) Abort() error {
	n.aborted.Store(true)
	return n.tcpCarrier.Abort()
}

// TestAWholeUploadIsNotAborted: on a way that carries half-closes and no resets, an app that
// has sent everything and has gone is an end. A break of the way could cost the target the
// last bytes, and some proxies pass it on as an end. A way that carries resets is aborted.
func TestAWholeUploadIsNotAborted(t *testing.T) {
	for _, resets := range []bool{false, true} {
		n := &noted{}
		w := openRelayedWith(t, func(c *tcpCarrier) relay.Tunnel {
			c.traits = tunnel.Traits{Backpressure: true, HalfClose: true, Resets: resets}
			n.tcpCarrier = c
			return n
		}, relay.Options{})
		_, err := w.app.Write([]byte("hello"))
		must(t, err)
		must(t, w.app.CloseWrite())
		if got, err := io.ReadAll(w.target); err != nil || string(got) != "hello" {
			t.Fatalf("the target got %q and %v", got, err)
		}
		must(t, relay.Reset(w.app))
		_, err = w.target.Write([]byte("x")) // which the app does not want any more
		must(t, err)
		if r := w.ended(t); r.Reason != relay.AppClosed || n.aborted.Load() != resets {
			t.Errorf("resets %t: the reason is %s (%v), and aborted is %t", resets, r.Reason, r.Err, n.aborted.Load())
		}
	}
}
