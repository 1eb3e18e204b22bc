// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// alertSection finds the heading of an alert in the runbook, and what follows it.
var alertSection = regexp.MustCompile(`(?ms)^## (ShootProxy\w+)\n(.*?)(?:\z|^## )`)

// TestRunbookHasEveryAlert: docs/runbook.md has one section for each alert of the charts,
// and no other. A section begins with what the user sees, and then says the same things
// in the same order.
func TestRunbookHasEveryAlert(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "charts/*/rules/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the charts' rules: %q, %v", files, err)
	}
	var alerts []string
	for _, file := range files {
		var content struct {
			Groups []struct{ Rules []struct{ Alert string } }
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, group := range content.Groups {
			for _, rule := range group.Rules {
				if rule.Alert != "" {
					alerts = append(alerts, rule.Alert)
				}
			}
		}
	}
	slices.Sort(alerts)
	alerts = slices.Compact(alerts) // one of each severity has the same name

	runbook := read(t, filepath.Join(root, "docs/runbook.md"))
	var sections []string
	for rest := runbook; ; {
		at := alertSection.FindStringSubmatchIndex(rest)
		if at == nil {
			break
		}
		name, text := rest[at[2]:at[3]], rest[at[4]:at[5]]
		sections = append(sections, name)
		checkSection(t, name, text)
		rest = rest[at[5]:]
	}
	slices.Sort(sections)
	if diff := cmp.Diff(alerts, sections); diff != "" {
		t.Errorf("docs/runbook.md (-alerts of the charts +sections):\n%s", diff)
	}
}

// checkSection checks the order of a section's parts.
func checkSection(t *testing.T, name, text string) {
	t.Helper()
	if !strings.HasPrefix(text, "\n**You see**") {
		t.Errorf("docs/runbook.md, %s: it does not begin with what the user sees", name)
	}
	from := 0
	for _, part := range []string{"**You see**", "**It means**", "**Confirm**", "**Causes**", "**Mended**"} {
		at := strings.Index(text[from:], "\n"+part)
		if at < 0 {
			t.Errorf("docs/runbook.md, %s: %s is missing, or comes too early", name, part)
			return
		}
		from += at + 1
	}
}
