// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"
)

// testInspect: `webhook check` finds that the webhook answers.
func (in *installed) testInspect(t *testing.T) {
	admin, err := in.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	said, code := in.check(t, admin, "check")
	if want := "reaches the webhook: a dry run of a labelled pod"; code == 2 || !strings.Contains(said, want) {
		t.Errorf("exit code %d, want %q in\n%s", code, want, said)
	}
}
