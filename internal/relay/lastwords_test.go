// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// refusingCarrier is a fakeCarrier whose target has reset the connection.
type refusingCarrier struct {
	*fakeCarrier
	once  sync.Once
	tried chan struct{} // closed by the first Send
}

func (r *refusingCarrier) Send([]byte) error {
	r.once.Do(func() { close(r.tried) })
	return fmt.Errorf("%w: RST_STREAM", tunnel.ErrReset)
}

// TestLastWordsBeforeAReset: a server that does not want an upload answers, and closes the
// connection while its client still sends. What it said arrives before the reset, although the
// upload has learned of the reset first.
func TestLastWordsBeforeAReset(t *testing.T) {
	for name, last := range map[string]error{
		"a reset":                 fmt.Errorf("%w: RST_STREAM", tunnel.ErrReset),
		"an end, and then no use": io.EOF,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tun := newFakeTunnel(t)
			carrier := &refusingCarrier{fakeCarrier: &fakeCarrier{fakeTunnel: tun, traits: everything}, tried: make(chan struct{})}
			r := startWith(t, carrier, relay.Options{})
			r.tun = tun
			_, err := r.app.Write([]byte("a part of an upload"))
			must(t, err)
			waittest.Await(t, carrier.tried, "the first Send")
			tun.incoming <- []byte("413 Content Too Large")
			tun.end <- last
			got := make([]byte, 21)
			if n, err := io.ReadFull(r.app, got); err != nil {
				t.Fatalf("the app got %q and %v, want what the target said", got[:n], err)
			}
			if last == io.EOF {
				_, _ = r.app.Read(got) // the end, if the reset is not there yet
			}
			(&sight{t: t}).fails("app", r.app)
			r.finish(t, relay.TargetReset)
		})
	}
}
