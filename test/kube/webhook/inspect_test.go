// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	commandline "flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/webhook/inspect"
)

var update = commandline.Bool("update", false, "write the golden files anew")

// provocation is a failure, and what `webhook check` should say about it.
type provocation struct {
	name string
	// provoke causes the failure, and returns what ends it.
	provoke func(*inspected, *testing.T) (end func())
	// blamed are the findings that are not ok, and no others may be.
	blamed []string
	code   int
}

// TestInspect: `webhook check` finds nothing in a healthy installation. It finds each
// provoked failure with its cause and its cure, as the golden files show, and blames
// nothing else. Between two failures the installation is healthy again.
func TestInspect(t *testing.T) {
	t.Parallel()
	in := newInspected(t)
	if !t.Run("healthy", func(t *testing.T) { in.testHealthy(t) }) {
		return
	}
	for _, p := range slices.Concat(podProvocations(), []provocation{statefulSetProvocation()}, secretProvocations(), exitProvocations(), namespaceProvocations(), clusterProvocations(), webhookProvocations()) {
		t.Run(p.name, func(t *testing.T) { in.testProvocation(t, p) })
	}
	t.Run("rights", in.testInspectRights)
	t.Run("pages", in.testInspectPages)
	t.Run("command", in.testInspectCommand)
	t.Run("many pods", in.testInspectMany)
	t.Run("no Secret's content in any report", in.wantNoSecrets)
}

func (in *inspected) testHealthy(t *testing.T) {
	r := in.inspect(t)
	if got := blamed(r); len(got) > 0 || r.ExitCode() != 0 {
		t.Errorf("exit code %d, and it blames %q", r.ExitCode(), got)
	}
	compareGolden(t, "healthy", r.Findings, r)
}

func (in *inspected) testProvocation(t *testing.T, p provocation) {
	end := p.provoke(in, t)
	ended := false
	defer func() {
		if !ended {
			end()
		}
	}()
	r := in.inspect(t)
	if diff := cmp.Diff(p.blamed, blamed(r)); diff != "" {
		t.Errorf("blamed (-want +got):\n%s", diff)
	}
	if code := r.ExitCode(); code != p.code {
		t.Errorf("exit code %d, want %d", code, p.code)
	}
	compareGolden(t, strings.ReplaceAll(p.name, " ", "-"), slices.DeleteFunc(slices.Clone(r.Findings), func(f inspect.Finding) bool { return f.Status == inspect.OK }), r)
	ended = true
	end()
	if got := blamed(in.inspect(t)); len(got) > 0 {
		t.Errorf("once it has ended, these are blamed: %q", got)
	}
}

// What differs from run to run:
var (
	anyAddress = regexp.MustCompile(`127\.\d+\.\d+\.\d+`)
	anyTime    = regexp.MustCompile(`\d{4}-\d\d-\d\d(T[\d:]+Z| \d\d:\d\d UTC)?`)
	anyDays    = regexp.MustCompile(`\b\d+ days?\b`)
	anyHash    = regexp.MustCompile(`\b(app|web)-[0-9a-z]{6,10}-[0-9a-z]{5}\b`)
)

// compareGolden compares the text of findings with a golden file.
func compareGolden(t *testing.T, name string, findings []inspect.Finding, r *inspect.Report) {
	t.Helper()
	shown := *r
	shown.Findings = nil
	shown.Add(findings...)
	var text strings.Builder
	if err := shown.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		line = strings.TrimRight(line, "\n")
		if !strings.Contains(line, " $ ") && line != shown.Verdict && len([]rune(line)) > 80 && strings.Count(strings.TrimSpace(line), " ") > 1 {
			t.Errorf("this line has %d columns: %s", len(line), line)
		}
	}
	got := text.String()
	for _, p := range []struct {
		pattern *regexp.Regexp
		with    string
	}{{anyAddress, "127.0.0.1"}, {anyTime, "2026-01-02"}, {anyDays, "9 days"}, {anyHash, "$1-abc"}} {
		got = p.pattern.ReplaceAllString(got, p.with)
	}
	// Times differ in length from what replaces them, so the lines do not matter.
	path := filepath.Join("testdata", "inspect", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Fields(string(want)), strings.Fields(got)); diff != "" {
		t.Errorf("%s (-want +got): run the test with -update if the new text is right\n%s\n%s", path, diff, got)
	}
}
