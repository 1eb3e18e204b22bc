// SPDX-License-Identifier: Apache-2.0

package tunnel_test

import (
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestFault: what each fault lets a dialer do next.
func TestFault(t *testing.T) {
	for fault, want := range map[tunnel.Fault]struct{ elsewhere, unreachable, lasting, ours bool }{
		tunnel.FaultTarget:      {},
		tunnel.FaultServer:      {elsewhere: true},
		tunnel.FaultUnreachable: {elsewhere: true, unreachable: true},
		tunnel.FaultUnusable:    {elsewhere: true, unreachable: true, lasting: true},
		tunnel.FaultRefusal:     {elsewhere: true, lasting: true},
		tunnel.FaultProcess:     {ours: true},
		tunnel.FaultPort:        {elsewhere: true, ours: true},
	} {
		got := want
		got.elsewhere, got.unreachable, got.lasting, got.ours = fault.Elsewhere(), fault.Unreachable(), fault.Lasting(), fault.Ours()
		if got != want {
			t.Errorf("fault %d: %+v, want %+v", fault, got, want)
		}
	}
}
