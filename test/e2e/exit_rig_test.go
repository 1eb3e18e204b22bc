// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// newBareExitRig builds a lab with an exit in the shoot, without init-redirect and sidecar.
func newBareExitRig(t testing.TB, opts lab.Options) *rig {
	t.Helper()
	labtest.RequireRoot(t)
	if err := opts.CheckExit(); err != nil {
		t.Fatal(err)
	}
	opts.Exits = max(opts.Exits, 1)
	return newBareRig(t, opts)
}
