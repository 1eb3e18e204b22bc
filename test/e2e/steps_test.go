// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// documentedSteps returns the headings of the steps in a section of docs/vpn.md.
func documentedSteps(t *testing.T, section string) []string {
	t.Helper()
	root, err := lab.RepositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "vpn.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?ms)^## ` + regexp.QuoteMeta(section) + `$(.*?)(^## |\z)`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("docs/vpn.md has no section %q", section)
	}
	var steps []string
	for _, step := range regexp.MustCompile(`(?m)^### \d+\. (.*)$`).FindAllSubmatch(found[1], -1) {
		steps = append(steps, string(step[1]))
	}
	return steps
}

// step is a step of the document, and what the test does for it.
type step struct {
	title string
	do    func(t *testing.T)
}

// follow does the steps of a section of docs/vpn.md. It fails if the document has others,
// or another order.
func follow(t *testing.T, section string, steps []step) {
	t.Helper()
	var titles []string
	for _, s := range steps {
		titles = append(titles, s.title)
	}
	if diff := cmp.Diff(documentedSteps(t, section), titles); diff != "" {
		t.Fatalf("the steps of %q (-docs/vpn.md +this test):\n%s", section, diff)
	}
	for _, s := range steps {
		if !t.Run(s.title, s.do) {
			t.FailNow()
		}
	}
}
