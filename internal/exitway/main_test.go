// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hang bounds waits that end at once if nothing is broken.
const hang = waittest.Limit

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
