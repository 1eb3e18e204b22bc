// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(farSideEnv); dir != "" {
		os.Exit(serveFarSide(dir))
	}
	goleak.VerifyTestMain(m)
}
