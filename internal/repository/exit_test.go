// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/exitserver"
)

// TestExitDocumentExplainsEveryError: docs/exit.md says what to do about each error with
// which an exit refuses.
func TestExitDocumentExplainsEveryError(t *testing.T) {
	var want []string
	for _, problem := range exitserver.ProxyErrors() {
		want = append(want, string(problem))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(tableOf(t, "docs/exit.md", "## When it does not work")))); diff != "" {
		t.Errorf("docs/exit.md (-exit +document):\n%s", diff)
	}
}
