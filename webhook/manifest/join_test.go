// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"strings"
	"testing"
)

// TestJoin: what is between two files, and that each still says what it said.
func TestJoin(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		want  string
	}{
		{"nothing", nil, ""},
		{"one, as it is", []string{"a: b"}, "a: b"},
		{"two", []string{"a: b\n", "c: d\n"}, "a: b\n---\nc: d\n"},
		{"no line break at the end", []string{"a: b", "c: d"}, "a: b\n---\nc: d"},
		{"with separators of their own", []string{"---\na: b\n---\n", "# comment\n--- # and more\nc: d\n"}, "---\na: b\n---\n# comment\n--- # and more\nc: d\n"},
		{"an end of its own", []string{"a: b\n...\n", "c: d\n"}, "a: b\n...\n---\nc: d\n"},
		{"directives", []string{"a: b\n", "%YAML 1.1\n---\nc: d\n"}, "a: b\n...\n%YAML 1.1\n---\nc: d\n"},
		{"byte order marks", []string{"\ufeffa: b\n", "\ufeffc: d\n"}, "\ufeffa: b\n---\nc: d\n"},
		{"empty ones", []string{"", "a: b\n", "", "# only a comment\n", "\n", "c: d\n"}, "a: b\n# only a comment\n\n---\nc: d\n"},
		{"JSON", []string{`{"a": 1}`, "{\"b\": 2}\n{\"c\": 3}\n"}, "{\"a\": 1}\n---\n{\"b\": 2}\n{\"c\": 3}\n"},
		{"a comment at the end", []string{"a: b\n---\n# c", "d: e\n"}, "a: b\n---\n# c\n---\nd: e\n"},
		{"a text that ends a document", []string{"a: |\n  b\n", "c: d\n"}, "a: |\n  b\n---\nc: d\n"},
		{"a folded one without an end", []string{"a: >-\n  b", "c: d\n"}, "a: >-\n  b\n---\nc: d\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var files []File
			want := 0
			for _, text := range tt.files {
				files = append(files, File{Name: "x", Text: []byte(text)})
				want += len(Uninject([]byte(text)).Outcomes)
			}
			result := UninjectFiles(files)
			if string(result.Output) != tt.want || result.Output == nil {
				t.Errorf("got  %q\nwant %q", result.Output, tt.want)
			}
			again := Uninject(result.Output)
			if len(again.Outcomes) != want || again.Refused() > 0 {
				t.Errorf("%d objects have become %v", want, again.Outcomes)
			}
		})
	}
}

// TestJoinRefusesWhatItWouldChange: a block scalar at the end of a file has a line break
// more once something follows.
func TestJoinRefusesWhatItWouldChange(t *testing.T) {
	files := []File{{Name: "a.yaml", Text: []byte("kind: A\nb: |\n  c")}, {Name: "b.yaml", Text: []byte("d: e\n")}}
	result := UninjectFiles(files)
	if result.Output != nil || result.Refused() != 1 || !strings.HasPrefix(result.Outcomes[len(result.Outcomes)-1].String(), "a.yaml: refused: the file ends within a text") {
		t.Errorf("got %q, %v", result.Output, result.Outcomes)
	}
	if alone := UninjectFiles(files[:1]); string(alone.Output) != "kind: A\nb: |\n  c" {
		t.Errorf("alone it becomes %q", alone.Output)
	}
}
