// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// helpText matches a target of the Makefile that has a help line.
var helpText = regexp.MustCompile(`(?m)^([a-z0-9-]+):.*## (.*)$`)

// TestMakeHelpListsEveryTarget: `make help` shows each target that has a help line,
// once, without the name of its group.
func TestMakeHelpListsEveryTarget(t *testing.T) {
	out, err := exec.Command("make", "-C", root, "help").CombinedOutput()
	if err != nil {
		t.Fatalf("make help: %v\n%s", err, out)
	}
	targets := helpText.FindAllStringSubmatch(read(t, filepath.Join(root, "Makefile")), -1)
	if len(targets) == 0 {
		t.Fatal("the Makefile has no target with a line of help")
	}
	for _, target := range targets {
		group, text, _ := strings.Cut(target[2], ": ")
		line := regexp.MustCompile(`(?m)^  make ` + target[1] + ` +` + regexp.QuoteMeta(text) + `$`)
		if found := len(line.FindAll(out, -1)); text == "" || found != 1 {
			t.Errorf("make help shows target %s %d times, want once: its help must begin with one of GROUPS, and begins with %q", target[1], found, group)
		}
	}
}
