// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestHalfClosedAppThatReadsSlowly: an app that has half-closed reads what lies in its
// socket's buffers. Then something moves, though the relay has nothing to do.
func TestHalfClosedAppThatReadsSlowly(t *testing.T) {
	const timeout = 2 * time.Second
	for _, traits := range []tunnel.Traits{{}, backpressure} {
		t.Run(traitsName(traits), func(t *testing.T) {
			t.Parallel()
			w := openRelayed(t, traits, relay.Options{HalfCloseTimeout: timeout})
			must(t, errors.Join(w.side.SetWriteBuffer(1<<20), w.app.SetReadBuffer(4<<10)))
			must(t, w.app.CloseWrite())
			const size = 256 << 10
			must(t, <-writes(w.target, size, nil))
			got := make([]byte, size)
			// It takes two timeouts to read half of it. None of the pauses is near one.
			n := 0
			for ; n < size/2; time.Sleep(timeout / 8) {
				k, err := w.app.Read(got[n:min(n+8<<10, size)])
				if err != nil {
					t.Fatalf("after %d of %d bytes: %v", n, size, err)
				}
				n += k
			}
			_, err := io.ReadFull(w.app, got[n:])
			must(t, err)
			must(t, w.target.Close())
			_, err = w.app.Read(got)
			if err != io.EOF {
				t.Errorf("the app sees %v, want the target's end", err)
			}
			if r := w.ended(t); r.Reason != relay.TargetClosed {
				t.Errorf("the reason is %s, want %s", r.Reason, relay.TargetClosed)
			}
		})
	}
}
