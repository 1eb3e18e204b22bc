// SPDX-License-Identifier: Apache-2.0

package markdown

import (
	"context"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// documents returns the paths of the documents that users read.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/*/*.md", "../../charts/*/*.md", "../../deploy/*/*.md", "../../examples/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no document is like %s (%v)", pattern, err)
		}
		all = append(all, found...)
	}
	return all
}

// TestDocumentsTellCommands: bash can parse each command. Few blocks are not run, and
// each of those has a reason.
func TestDocumentsTellCommands(t *testing.T) {
	skipped := map[string]int{}
	commands := 0
	for _, path := range documents(t) {
		document, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		steps, err := document.Steps()
		if err != nil {
			t.Error(err)
		}
		for _, step := range steps {
			if step.Skipped != "" {
				skipped[filepath.Base(path)+": "+step.Skipped]++
			}
			if step.Command == "" {
				continue
			}
			commands++
			if problem := unreadable(t.Context(), step.Command); problem != "" {
				t.Errorf("%s\nbash cannot read this: %s", step, problem)
			}
		}
	}
	if commands < 30 {
		t.Errorf("%d commands were found, and there are more", commands)
	}
	want := []string{
		"install.md: another workload",
		"install.md: on the nodes",
		"quickstart.md: loads images into kind clusters",
		"quickstart.md: makes a release",
		"quickstart.md: makes kind clusters",
		"quickstart.md: removes kind clusters",
		"release.md: needs a key, and cosign writes to a public log",
		"release.md: needs the signature",
		"release.md: needs the signatures",
	}
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(skipped))); d != "" {
		t.Errorf("what no test runs (-want +documents):\n%s", d)
	}
}

// unreadable returns why bash cannot parse a command; empty if it can.
func unreadable(ctx context.Context, command string) string {
	cmd := exec.CommandContext(ctx, "bash", "-n")
	cmd.Stdin = strings.NewReader(command + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return err.Error() + ": " + string(out)
	}
	return ""
}
