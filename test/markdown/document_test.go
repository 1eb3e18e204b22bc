// SPDX-License-Identifier: Apache-2.0

package markdown

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsNoDocumentIsRefused(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"a block without an end":   {"a\n```console\n$ true\n", "d.md:2: the block has no end"},
		"output before a command":  {"```console\nhello\n$ true\n```\n", `d.md:2: the console shows "hello" before any command`},
		"an empty line before one": {"```console\n\n$ true\n```\n", `d.md:2: the console shows "" before any command`},
		"half a here-document":     {"```console\n$ true\n$ cat <<END\n> a\n```\n", "d.md:3: the console ends before the here-document does"},
	} {
		t.Run(name, func(t *testing.T) {
			steps, err := Parse("d.md", tc.text).Steps()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got steps %v, error %v; want the error %q", steps, err, tc.want)
			}
		})
	}
}

func TestWhatAConsoleTells(t *testing.T) {
	for name, tc := range map[string]struct {
		console string
		want    []Step
	}{
		"nothing":         {"", nil},
		"a command":       {"$ true", []Step{{Line: 2, Command: "true"}}},
		"as root":         {"# true", []Step{{Line: 2, Command: "true"}}},
		"with its output": {"$ echo a\na\n\nb\n", []Step{{Line: 2, Command: "echo a", Output: "a\n\nb"}}},
		"two":             {"$ echo a\na\n$ echo b", []Step{{Line: 2, Command: "echo a", Output: "a"}, {Line: 4, Command: "echo b"}}},
		"continued by the shell's prompt": {
			"$ for i in 1 2; do\n>   echo $i\n> done\n1\n2",
			[]Step{{Line: 2, Command: "for i in 1 2; do\n  echo $i\ndone", Output: "1\n2"}},
		},
		"continued by a backslash": {
			"$ echo \\\n    a \\\n    b\na b",
			[]Step{{Line: 2, Command: "echo \\\n    a \\\n    b", Output: "a b"}},
		},
		"a here-document": {
			"$ cat <<END\n$ is no prompt\n> nor is this\n\nEND\nprinted",
			[]Step{{Line: 2, Command: "cat <<END\n$ is no prompt\nnor is this\n\nEND", Output: "printed"}},
		},
		"a here-document, quoted, behind the shell's prompt": {
			"$ kubectl apply -f - <<'END'\n> a: b\n> END\n$ true",
			[]Step{{Line: 2, Command: "kubectl apply -f - <<'END'\na: b\nEND"}, {Line: 5, Command: "true"}},
		},
		"a function": {
			"$ f() { # says\n>   echo \"$1\"\n> }\n$ f a",
			[]Step{{Line: 2, Command: "f() { # says\n  echo \"$1\"\n}"}, {Line: 5, Command: "f a"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			text := "```console\n" + tc.console
			if tc.console != "" {
				text += "\n"
			}
			got, err := Parse("d.md", text+"```\n").Steps()
			if err != nil {
				t.Fatal(err)
			}
			for i := range tc.want {
				tc.want[i].Document = "d.md"
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("steps (-want +got):\n%s", d)
			}
		})
	}
}

const guide = "# Guide\n" +
	"```yaml\n# values.yaml\na: b\n```\n" +
	"## First\n" +
	"- in a list\n\n  ```console\n  $ echo a\n  a\n  ```\n" +
	"### Below it\n" +
	"<!-- not run: makes a mess -->\n```console\n$ mess\n```\n" +
	"```console\n$ echo a\n# Guide\na\n```\n" +
	"## Second\n" +
	"```yaml\n# a comment of several words\nc: d\n```\n" +
	"```text\n$ shown only\n```\n" +
	"<!-- something else -->\n```json\n# other.json\n```\n"

func TestSections(t *testing.T) {
	values := Step{Line: 3, File: "values.yaml", Content: "# values.yaml\na: b\n"}
	listed := Step{Line: 10, Command: "echo a", Output: "a"}
	mess := Step{Line: 16, Command: "mess", Skipped: "makes a mess"}
	quoted := Step{Line: 19, Command: "echo a", Output: "# Guide\na"}
	other := Step{Line: 33, File: "other.json", Content: "# other.json\n"}
	below := []Step{mess, quoted}
	first := append([]Step{listed}, below...)
	for section, want := range map[string][]Step{
		"Below it": below,
		"First":    first,
		"Second":   {other},
		"Guide":    append(append([]Step{values}, first...), other),
	} {
		got, err := Parse("d.md", guide).Section(section)
		if err != nil {
			t.Fatal(err)
		}
		all := append([]Step(nil), want...)
		for i := range all {
			all[i].Document = "d.md"
		}
		if d := cmp.Diff(all, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", section, d)
		}
	}
	if steps, err := Parse("d.md", guide).Section("Third"); err == nil || !strings.Contains(err.Error(), `d.md has no heading "Third"`) {
		t.Errorf("of a section that is not there: %v, %v", steps, err)
	}
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		shown, printed string
		want           bool
	}{
		{"a", "a\n", true},
		{"a", "  a\n\n", true},
		{"a", "b", false},
		{"a", "a\nb", false},
		{"b", "a\nb", false},
		{"a.c", "abc", false},
		{"a\nb", "a\nb\n", true},
		{"a…c", "abc", true},
		{"a…c", "ac", true},
		{"a…c", "a\nc", false},
		{"…b…", "abc", true},
		{"a\n…\nc", "a\nb\nb\nc", true},
		{"a\n…\nc", "a\nc", true},
		{"a\n…\nc", "a\nb", false},
		{"…\nc", "a\nb\nc", true},
		{"a\n…", "a", true},
		{"a\n…", "a\nb\nc", true},
		{"…", "", true},
		{`{"a":"…"}`, `{"a":"1"}`, true},
		{`{"a":"…"}`, `{"a":1}`, false},
	} {
		if got := Matches(tc.shown, tc.printed); got != tc.want {
			t.Errorf("that %q shows what was printed, %q, is %t, want %t", tc.shown, tc.printed, got, tc.want)
		}
	}
}

func TestTextsOfASection(t *testing.T) {
	text := "# One\n\n```text\nout\nput\n```\n\n## Deeper\n\n```text\nmore\n```\n\n```console\n$ true\n```\n\n# Two\n\n```text\nother\n```\n"
	got, err := Parse("d.md", text).Texts("One")
	if diff := cmp.Diff([]string{"out\nput", "more"}, got); diff != "" || err != nil {
		t.Errorf("(-want +got):\n%s\n%v", diff, err)
	}
}
