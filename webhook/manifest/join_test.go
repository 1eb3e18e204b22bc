// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"reflect"
	"testing"
)

// TestJoin: the text between two files. Each keeps its meaning.
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
		{"with separators of their own", []string{"---\na: b\n---\n", "# comment\n--- # and more\nc: d\n"}, "---\na: b\n---\n---\n# comment\n--- # and more\nc: d\n"},
		{"a separator at once", []string{"a: b\n", "--- # and more\nc: d\n"}, "a: b\n--- # and more\nc: d\n"},
		{"a comment behind JSON", []string{"{\"a\": 1}", "# comment\n---\nc: d\n"}, "{\"a\": 1}\n---\n# comment\n---\nc: d\n"},
		{"an end of its own", []string{"a: b\n...\n", "c: d\n"}, "a: b\n...\n---\nc: d\n"},
		{"directives", []string{"a: b\n", "%YAML 1.1\n---\nc: d\n"}, "a: b\n...\n%YAML 1.1\n---\nc: d\n"},
		{"byte order marks", []string{"\ufeffa: b\n", "\ufeffc: d\n"}, "\ufeffa: b\n---\nc: d\n"},
		{"empty ones", []string{"", "a: b\n", "", "# only a comment\n", "\n", "c: d\n"}, "a: b\n---\n# only a comment\n---\n\n---\nc: d\n"},
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

// TestABlockScalarAtTheEndKeepsItsText: a block scalar at the end would include an
// added line break, so it gets a strip indicator. A single file stays unchanged.
func TestABlockScalarAtTheEndKeepsItsText(t *testing.T) {
	for text, want := range map[string]string{
		"kind: A\nb: |\n  c":                 "kind: A\nb: |-\n  c",
		"kind: A\nb: |+ # text\n  c":         "kind: A\nb: |- # text\n  c",
		"kind: A\nb: >2\n   c\n  d":          "kind: A\nb: >2-\n   c\n  d",
		"kind: A\nb: &x !!str |+2\n   c":     "kind: A\nb: &x !!str |2-\n   c",
		"kind: A\nb:\n- |\n  |\n  |":         "kind: A\nb:\n- |-\n  |\n  |",
		"kind: A\r\nb: |\r\n  c":             "kind: A\r\nb: |-\r\n  c",
		"kind: A\nb: |\n  x\n---\nc: |\n  d": "kind: A\nb: |\n  x\n---\nc: |-\n  d",
		"kind: A\nb: |-\n  c":                "kind: A\nb: |-\n  c",
	} {
		files := []File{{Name: "a.yaml", Text: []byte(text)}, {Name: "b.yaml", Text: []byte("d: e\n")}}
		result := UninjectFiles(files)
		if got := string(result.Output); got != want+"\n---\nd: e\n" {
			t.Errorf("%q becomes %q, %v", text, got, result.Outcomes)
			continue
		}
		before, after := split([]byte(text)), split(result.Output)
		if was, problem := before[len(before)-1].parse(); problem != "" || !after[len(after)-2].sameAs(was) {
			t.Errorf("%q says something else in %q", text, result.Output)
		}
		if alone := UninjectFiles(files[:1]); string(alone.Output) != text {
			t.Errorf("alone %q becomes %q", text, alone.Output)
		}
	}
}

// FuzzJoin: two files that can be read keep their meaning when joined.
func FuzzJoin(f *testing.F) {
	for _, texts := range [][2]string{
		{"a: b", "c: d"},
		{"a: |\n  b", "---\nc: d\n"},
		{"a: >+2\n   b\n\n  c", "%YAML 1.1\n---\nc: d"},
		{"{\"a\": 1}{\"b\": 2}", "\ufeff# c\n--- # d\ne: f"},
		{"a: b\n...", "...\n"},
		{"---\na: 'b\n  c'\n# d", "? e"},
		{"- |\r\n  a", "b: c\r\n"},
	} {
		f.Add([]byte(texts[0]), []byte(texts[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var want []any
		for _, text := range [][]byte{a, b} {
			if Uninject(text).Refused() > 0 {
				return
			}
			want = append(want, meaning(t, text)...)
		}
		result := UninjectFiles([]File{{Name: "a", Text: a}, {Name: "b", Text: b}})
		if result.Refused() > 0 {
			if result.Output != nil {
				t.Fatal("there is output, and a document was refused")
			}
			return
		}
		if got := meaning(t, result.Output); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q and %q become %q", a, b, result.Output)
		}
	})
}
