// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListingThatCannotBeRead(t *testing.T) {
	for _, line := range []string{
		"", "-A", "-N CHAIN", `-A OUTPUT -m comment --comment "no end`, "-A OUTPUT -c 1", "-A OUTPUT -c x 2 -j X", "-A OUTPUT -c 1 -2 -j X",
	} {
		if got, err := Parse(line); err == nil {
			t.Errorf("Parse(%q) = %v, want an error: a rule that cannot be read must not pass as one of ours", line, got)
		}
	}
}

// TestSpellingsOfOneRule: the two rules of a pair mean the same. Backends or versions print
// them differently.
func TestSpellingsOfOneRule(t *testing.T) {
	for _, pair := range [][2]string{
		{"-A C -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -j R", "-A C -p tcp -d 192.0.2.1 -m tcp --dport 80 -j R"},
		{"-A C -p tcp -m multiport --dports 22,80 -j RETURN", "-A C -p tcp -m multiport --dports 80,22 -c 5 300 -j RETURN"},
		{"-A C -p tcp -m multiport --dports 22 -j RETURN", "-A C -p tcp -m tcp --dport 22 -j RETURN"},
		{"-A C -d 2001:db8::1/128 -p tcp -j R", "-A C -d 2001:0db8:0::1 -p tcp -m tcp -j R"},
		{"-A C -o lo -m owner --uid-owner 7 -j RETURN", "-A C -m owner --uid-owner 7 -o lo -j RETURN"},
		{"-A C -m comment --comment -c -c 1 60 -j ACCEPT", "-A C -c 1 60 -m comment --comment -c -j ACCEPT"},
	} {
		a, errA := Parse(pair[0])
		b, errB := Parse(pair[1])
		if errA != nil || errB != nil || a.Rule.String() != b.Rule.String() {
			t.Errorf("a rule differs from itself, so verify would cry wolf:\n%s => %s (%v)\n%s => %s (%v)",
				pair[0], a.Rule, errA, pair[1], b.Rule, errB)
		}
	}
}

// TestForeignRuleIsNeverOurs: each of these rules looks like one of ours and does something
// else.
func TestForeignRuleIsNeverOurs(t *testing.T) {
	ours := map[string]bool{}
	for _, file := range goldenFiles(t) {
		for line := range strings.Lines(file) {
			if l, err := Parse(strings.TrimSpace(line)); err == nil {
				ours[l.Rule.String()] = true
			}
		}
	}
	if len(ours) < 20 {
		t.Fatalf("only %d rules in the golden files", len(ours))
	}
	for _, line := range []string{
		"-A C ! -o lo -j RETURN",
		"-A C -m owner ! --uid-owner 14001 -j RETURN",
		"-A C -m owner --uid-owner 0-14001 -j RETURN",
		"-A C -m owner --gid-owner 14001 -j RETURN",
		"-A C ! -d 100.64.0.0/12 -p tcp -j PROXY_CLIENT_REDIRECT",
		"-A C -s 10.0.0.0/8 -d 100.64.0.0/12 -p tcp -j PROXY_CLIENT_REDIRECT",
		"-A C -d 100.64.0.0/12 -p udp -j PROXY_CLIENT_REDIRECT",
		"-A C -d 100.64.0.0/12 -p tcp -g PROXY_CLIENT_REDIRECT",
		"-A C -d 100.64.0.0/12 -p tcp -m state --state NEW -j PROXY_CLIENT_REDIRECT",
		"-A C -p tcp -j REDIRECT --to-ports 14001-14002",
		"-A C -p tcp -j REDIRECT --to-ports 14001 --random",
		"-A C -p tcp",
		`-A C -o lo -m comment --comment "-j RETURN" -j RETURN`,
	} {
		l, err := Parse(line)
		if err != nil {
			t.Errorf("Parse(%q): %v", line, err)
		}
		if ours[l.Rule.String()] {
			t.Errorf("%q passes for one of our own rules (%s): tampering would go unnoticed", line, l.Rule)
		}
	}
}

func goldenFiles(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("../../testdata/*.rules")
	if err != nil || len(names) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	var files []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, string(text))
	}
	return files
}

func TestOwnRulesSurviveARoundTrip(t *testing.T) {
	for _, file := range goldenFiles(t) {
		for line := range strings.Lines(file) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "-A ") {
				continue
			}
			l, err := Parse(line)
			if got := "-A " + l.Chain + " " + l.Rule.String(); err != nil || got != line || l.Rule.foreign != "" {
				t.Errorf("what we write is not what we read: %q => %q, foreign %q, %v", line, got, l.Rule.foreign, err)
			}
		}
	}
}

// FuzzParse: no line makes the parser panic, and a rule that was read and written is the
// same if it is read again.
func FuzzParse(f *testing.F) {
	for _, file := range goldenFiles(f) {
		for line := range strings.Lines(file) {
			f.Add(strings.TrimSpace(line))
		}
	}
	f.Add(`-A OUTPUT ! -d 10.0.0.0/8 -m comment --comment "a \"b\" c" -c 12 720 -g X`)
	f.Fuzz(func(t *testing.T, line string) {
		first, err := Parse(line)
		if err != nil {
			return
		}
		text := first.Rule.String()
		second, err := Parse("-A C -c 0 0 " + text)
		if err != nil {
			t.Fatalf("Parse(%q) gave %q, which cannot be read: %v", line, text, err)
		}
		if again := second.Rule.String(); first.Rule.foreign == "" && again != text {
			t.Fatalf("Parse(%q) gave %q, and that %q", line, text, again)
		}
	})
}
