// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

// TestTypesOfPacketsAreBounded: types that the protocol does not have share one label.
func TestTypesOfPacketsAreBounded(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	before := testutil.CollectAndCount(m.packets)
	for i := range 1000 {
		m.received(&client.Packet{Type: client.PacketType(1000 + i)}, nil)
	}
	if n := testutil.CollectAndCount(m.packets) - before; n != 1 {
		t.Errorf("1,000 unknown types make %d labels", n)
	}
}
