// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// FuzzRefused: whatever status and text a CONNECT is refused with, its reason is one of
// the closed set. Another server is asked only if nothing reached the target. The error
// that is logged is short, and one line.
func FuzzRefused(f *testing.F) {
	for _, text := range []string{"No agent available", "dial tcp 100.64.3.7:9100: connection refused\r\n", "I/O TIMEOUT", "rpc error"} {
		f.Add(text, 500)
		f.Add(strings.ToUpper(text)+"\r\n", 502)
	}
	f.Add("eof", 504)
	f.Add(" EOF \n", 502)
	f.Add("", 0)
	f.Add("", 404)
	f.Add(strings.Repeat("\xff", 300), 503)
	f.Fuzz(func(t *testing.T, text string, status int) {
		e := newModelConnect(nil, "").refused(status, []byte(text))
		if !slices.Contains(tunnel.Reasons(), e.Reason) {
			t.Errorf("reason %q is not one of the closed set", e.Reason)
		}
		elsewhere := []tunnel.Reason{tunnel.ReasonNoAgent, tunnel.ReasonTimeout}
		if refusesCONNECT(status) {
			elsewhere = append(elsewhere, tunnel.ReasonProtocol)
		}
		if e.Fault.Elsewhere() && !slices.Contains(elsewhere, e.Reason) {
			t.Errorf("%s is about the target, and no other server should be asked", e.Reason)
		}
		if words := e.Error(); len(words) > 4<<10 || strings.ContainsAny(words, "\r\n") {
			t.Errorf("the error has %d bytes, or more than one line: %.100q", len(words), words)
		}
	})
}
