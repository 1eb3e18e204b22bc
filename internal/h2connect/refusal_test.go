// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/tunnel/tunneltest"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestDialIsReset: the error of a dial that was reset names the code, and does not say that
// the connection broke. The code says what the reset means.
func TestDialIsReset(t *testing.T) {
	for code, want := range map[http2.ErrCode]string{
		http2.ErrCodeConnect:         "unreachable",
		http2.ErrCodeRefusedStream:   "max_connections, elsewhere",
		http2.ErrCodeEnhanceYourCalm: "max_connections, elsewhere",
		http2.ErrCodeProtocol:        "protocol, elsewhere",
		http2.ErrCodeHTTP11Required:  "protocol, elsewhere",
		http2.ErrCodeCancel:          "other, elsewhere",
		http2.ErrCodeInternal:        "other, elsewhere",
		http2.ErrCodeNo:              "other, elsewhere",
	} {
		t.Run(code.String(), func(t *testing.T) {
			p := dialPeer(t, Config{})
			done, id := p.begin(t.Context(), "10.0.0.1:80")
			reset(code)(p, id)
			err := waittest.Await(t, done, "the end of the dial").err
			r, ok := errors.AsType[*Reset](err)
			if !ok || r.Code != code || !strings.Contains(err.Error(), code.String()) || errors.Is(err, tunnel.ErrBroken) {
				t.Fatalf("the dial ended with %v, want a reset with %s", err, code)
			}
			if refused := code == http2.ErrCodeRefusedStream; errors.Is(err, ErrUnprocessed) != refused || StreamRefused(err) != refused {
				t.Errorf("%v: it counts as not processed: %t", err, !refused)
			}
			is := &tunnel.Error{Err: err}
			is.Reason, is.Fault = r.Meaning()
			if got := tunneltest.Words(is); got != want {
				t.Errorf("it means %q, want %q", got, want)
			}
			p.wantAlive()
		})
	}
}
