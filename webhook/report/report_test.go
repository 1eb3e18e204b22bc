// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"
)

// TestVerdict: the exit code and the last line follow the worst finding. The first
// finding of that kind, in the order of the groups, is what to do first.
func TestVerdict(t *testing.T) {
	finding := func(s Status, g Group, object string) Finding {
		return Finding{Check: "a", Group: g, Status: s, Objects: []string{object}, Message: "It is so.", Next: "do that"}
	}
	for _, tt := range []struct {
		name     string
		findings []Finding
		code     int
		want     string
	}{
		{"nothing", nil, 0, ""},
		{"well", []Finding{finding(OK, GroupPods, "Pod a")}, 0, "all well"},
		{"skipped", []Finding{finding(OK, GroupPods, "Pod a"), {Group: GroupRights, Status: Skipped, Message: "You may not."}}, 3, "nothing wrong was found, but 1 check was skipped. First: You may not."},
		{"warnings", []Finding{finding(Warning, GroupPods, "Pod a"), finding(Warning, GroupNodes, "Node a")}, 3, "no failure, 2 warnings. First: Pod a: do that"},
		{
			"everything",
			[]Finding{finding(Skipped, GroupWebhook, "Webhook"), finding(Warning, GroupWebhook, "Webhook"), finding(Failure, GroupSecrets, "Secret a"), finding(Failure, GroupPods, "Pod a")},
			1, "not well: 2 failures, 1 warning, 1 check skipped. First: Pod a: do that",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &Report{}
			for _, f := range tt.findings {
				r.Add(f)
			}
			if r.ExitCode() != tt.code || r.Verdict != tt.want {
				t.Errorf("exit code %d, want %d; verdict %q, want %q", r.ExitCode(), tt.code, r.Verdict, tt.want)
			}
			var text strings.Builder
			if err := r.WriteText(&text); err != nil || !strings.HasSuffix(text.String(), tt.want+"\n") {
				t.Errorf("%v; the last line is not the verdict: %s", err, text.String())
			}
		})
	}
}

// TestAReportCannotChangeTheTerminal: messages have words of the cluster's users.
func TestAReportCannotChangeTheTerminal(t *testing.T) {
	r := &Report{}
	r.Add(Finding{Group: GroupPods, Status: Failure, Objects: []string{"Pod a"}, Message: "It says \x1b[2J\u009b2J.", Next: "look at \a", Commands: []string{"kubectl\x1b[2J"}})
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text.String(), "\x1b\u009b\a") || !strings.Contains(text.String(), "It says ?[2J?2J.\n") {
		t.Errorf("the text is %q", text.String())
	}
}

// TestText: lines end before column 80, except commands. Many objects are counted.
func TestText(t *testing.T) {
	r := &Report{}
	f := Finding{Check: "a", Group: GroupPods, Status: Failure, Message: strings.Repeat("It is long. ", 20), Next: strings.Repeat("do that ", 20), Commands: []string{"kubectl " + strings.Repeat("x", 90)}}
	merged := Merged{}
	for _, name := range strings.Split("abcdefgh", "") {
		merged.Add(f, "Pod monitoring/"+name)
	}
	r.Add(merged.All...)
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text.String(), "\n")
	commands := 0
	for _, line := range lines[:len(lines)-2] {
		if strings.Contains(line, " $ ") {
			commands++
		} else if len(line) > columns {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if commands != 1 || !strings.Contains(strings.Join(strings.Fields(text.String()), " "), "Pod monitoring/e and 3 more: It is long.") {
		t.Errorf("%d commands, in\n%s", commands, text.String())
	}
}
