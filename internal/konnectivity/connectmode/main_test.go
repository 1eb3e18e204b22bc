// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dialBudget is how long a script's app waits for its dial.
const dialBudget = 3 * time.Second

var target = netip.MustParseAddrPort("100.64.3.7:9100")
