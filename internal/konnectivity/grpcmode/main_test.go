// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connID is the id of the connection that a scripted server opens.
const connID = 7

var target = netip.MustParseAddrPort("100.64.3.7:9100")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
