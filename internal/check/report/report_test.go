// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// example is a report with a failure, as a check makes it.
func example() *report.Report {
	r := &report.Report{
		Version: "v1.2.3", Checked: time.Date(2026, 11, 28, 22, 0, 0, 0, time.UTC), Configuration: "the configuration of the running sidecar (127.0.0.1:14000)",
		Targets: []string{"10.250.0.4:10250"},
		Steps: []report.Step{
			{Name: report.StepSidecar, Result: report.OK, Found: "alive, ready"},
			{Name: report.StepRedirect, Target: "192.0.2.1:22400", Result: report.Failure, Cause: report.CauseRulesMissing, Found: "connections of IPv4 are rejected in the pod instead of being redirected. The rules that reject are there", Next: "let `init-redirect verify` read the rules. It needs NET_ADMIN.", Command: "kubectl debug POD --attach --profile=netadmin --custom=debug.yaml --image=INIT-REDIRECT-IMAGE -- init-redirect verify"},
			{Name: report.StepTLS, Server: "vpn:8090", Address: "10.96.0.1:8090", Result: report.Warning, Cause: report.CauseExpires, Found: "the certificate \"CN=a\x1b[31m\" expires in 3 days", Next: "renew it", ALPN: "h2"},
			{Name: report.StepConnect, Server: "unix:///run/s.sock", Address: "/run/s.sock", Result: report.OK, Found: "connected in 0.04 ms"},
			{Name: report.StepTiming, Result: report.OK, Found: "round trips", Times: &report.Times{Tries: 10, Min: 0.001, Median: 0.0025, Max: 1.5}},
			{Name: report.StepDial, Result: report.Skipped, Found: "step mode failed"},
		},
	}
	r.Finish()
	return r
}

// TestText compares the text for people with a golden file. Its lines fit into 80 columns
// but for commands and the verdict, which are in one line to be copied.
func TestText(t *testing.T) {
	var b strings.Builder
	if err := example().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "report.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the text (-want +got; -update writes the file):\n%s", diff)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for i, line := range lines {
		if n := utf8.RuneCountInString(line); n > 80 && i != len(lines)-1 && !strings.Contains(line, "kubectl debug") {
			t.Errorf("a line has %d columns: %s", n, line)
		}
	}
	if last := lines[len(lines)-1]; last != example().Verdict {
		t.Errorf("the last line is %q, want the verdict", last)
	}
	if strings.ContainsRune(b.String(), '\x1b') {
		t.Error("a peer's words can change a terminal")
	}
}

// TestVerdicts: the worst steps decide, and the first of them is in the sentence.
func TestVerdicts(t *testing.T) {
	step := func(result report.Result, found, next string) report.Step {
		return report.Step{Name: report.StepDial, Target: "t:1", Result: result, Found: found, Next: next}
	}
	for _, tc := range []struct {
		steps   []report.Step
		result  report.Result
		code    int
		verdict string
	}{
		{nil, report.OK, 0, "All 0 steps are ok. If an app still fails"},
		{[]report.Step{{Name: report.StepAnswer, Target: "t:1", Result: report.OK, Cause: report.CauseTargetSilent}}, report.OK, 0, "All 1 steps are ok. t:1 accepts connections, and has answered neither"},
		{[]report.Step{step(report.OK, "", ""), step(report.Skipped, "", "")}, report.OK, 0, "All 1 steps are ok."},
		{[]report.Step{step(report.Warning, "slow. Very", "look at x.y")}, report.Warning, 3, "1 warning, in step dial (t:1): slow; first: look at x.y."},
		{[]report.Step{step(report.Warning, "slow", ""), step(report.Failure, "gone", "do they run? Or not"), step(report.Failure, "", "")}, report.Failure, 1, "2 failures, the first in step dial (t:1): gone; first: do they run?"},
	} {
		r := report.Report{Steps: tc.steps}
		r.Finish()
		if r.Result != tc.result || r.ExitCode != tc.code || !strings.HasPrefix(r.Verdict, tc.verdict) {
			t.Errorf("got %s, %d, %q; want %s, %d, %q", r.Result, r.ExitCode, r.Verdict, tc.result, tc.code, tc.verdict)
		}
	}
}

// TestChanges: of a repeated check only what has changed is shown.
func TestChanges(t *testing.T) {
	changes := func(last, now *report.Report) string {
		var b strings.Builder
		if err := now.WriteChanges(&b, last); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := changes(example(), example()); got != "" {
		t.Errorf("nothing has changed, and this is shown: %s", got)
	}
	now := example()
	now.Steps[1] = report.Step{Name: report.StepRedirect, Target: "192.0.2.1:22400", Result: report.OK, Found: "redirected"}
	now.Steps[4].Found = "other times"
	now.Finish()
	got := changes(example(), now)
	for _, want := range []string{"Changed at 2026-11-28T22:00:00Z", "was failure, is ok: redirected", "1 warning, in step tls"} {
		if !strings.Contains(got, want) {
			t.Errorf("the changes do not say %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "other times") {
		t.Errorf("times always differ, and are shown:\n%s", got)
	}
}

// TestDocument: the names of the fields are an interface to other programs.
func TestDocument(t *testing.T) {
	text, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"version":"v1.2.3"`, `"checked":"2026-11-28T22:00:00Z"`, `"configuration":"the`, `"targets":["10.250.0.4:10250"]`, `"result":"failure"`, `"exitCode":1`, `"verdict":"1 failure`,
		`"step":"redirect"`, `"cause":"rules_missing"`, `"found":"conn`, `"next":"let`, `"command":"kubectl`, `"server":"vpn:8090"`, `"address":"10.96.0.1:8090"`, `"alpn":"h2"`,
		`"times":{"tries":10,"failed":0,"min":0.001,"median":0.0025,"max":1.5}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the document has no %s: %s", want, text)
		}
	}
	var back report.Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), &back); diff != "" {
		t.Errorf("a program reads it differently (-want +got):\n%s", diff)
	}
}

// TestWordsForTimes: a duration has the digits that it is worth.
func TestWordsForTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		123456 * time.Nanosecond: "0.12 ms", 1234 * time.Microsecond: "1.2 ms", 123 * time.Millisecond: "123 ms", 12340 * time.Millisecond: "12.3 s",
	} {
		if got := report.Seconds(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
	if got := (&report.Times{Tries: 3, Failed: 3}).String(); got != "none of 3 tries succeeded" {
		t.Error(got)
	}
	if got := (&report.Times{Tries: 3, Failed: 1, Min: 0.001, Median: 0.002, Max: 2}).String(); got != "1.0 ms to 2.0 s, median 2.0 ms, of 3, of which 1 failed" {
		t.Error(got)
	}
}
