// SPDX-License-Identifier: Apache-2.0

package yamlsyntax

import (
	"errors"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestEachMessageIsTheLibrarys: the library returns each message, and Problem
// translates it.
func TestEachMessageIsTheLibrarys(t *testing.T) {
	texts := map[string]string{
		"found a tab character":                                   "a: b\n\tc\n",
		"found character that cannot start any token":             "a: @b\n",
		"mapping values are not allowed in this context":          "a: b: c\n",
		"block sequence entries are not allowed in this context":  "a: - b\n",
		"did not find expected '-' indicator":                     "- a\n?\n",
		"did not find expected key":                               "a: 'it's'\n",
		"could not find expected ':'":                             "a:\n  b: c\n  d\ne: f\n",
		"did not find expected ',' or ']'":                        "a: [b\nc: d\n",
		"did not find expected ',' or '}'":                        "a: {b: c\nd: e\n",
		"did not find expected node content":                      "a: [\n",
		"found unexpected end of stream":                          "a: \"b\n",
		"found unexpected document indicator":                     "a: \"b\n---\n",
		"found unknown escape character":                          "a: \"\\d\"\n",
		"control characters are not allowed":                      "a: \x01\n",
		"UTF-8":                                                   "a: \xff\n",
		"did not find expected alphabetic or numeric character":   "a: *\n",
		"map merge requires map or sequence of maps as the value": "a: {<<: b}\n",
		"value contains invalid base64 data":                      "a: !!binary \"%%\"\n",
		"cannot decode !!":                                        "a: !!int b\n",
		"did not find expected <document start>":                  "%YAML 1.1\n{a: b}\n",
	}
	for _, m := range messages() {
		text, ok := texts[m.library]
		if !ok {
			t.Errorf("no text makes the library say %q", m.library)
			continue
		}
		var value any
		err := yaml.Unmarshal([]byte(text), &value)
		if err == nil || !strings.Contains(err.Error(), m.library) {
			t.Errorf("of %q the library says %v, want %q", text, err, m.library)
			continue
		}
		if got := Problem(err, []byte(text)); !strings.HasPrefix(got, "does not parse: ") || !strings.HasSuffix(got, m.plain) || strings.Contains(got, m.library) && m.library != "UTF-8" {
			t.Errorf("of %q we say %q", text, got)
		}
	}
}

func TestProblem(t *testing.T) {
	for _, tt := range []struct{ said, text, want string }{
		{"yaml: line 7: did not find expected key", "", "does not parse: near line 7: a line does not fit to those above: check its indentation and its quotes"},
		{"yaml: unknown anchor 'b' referenced", "a: *b", "does not parse: the alias *b has no anchor &b before it: write out what it stands for"},
		{"yaml: line 2: something\x1b[2J new", "", "does not parse: near line 2: something [2J new"},
		{"yaml: line 3: did not find expected key", "a: b\n{{- if .Values.a }}\nc: d\n", "has {{ outside of quotes (line 2): if it is a template, render it first, as 'helm template' does, else write quotes"},
		{"yaml: line 3: did not find expected key", "a: b\nc:\n  - {{ .Values.a }}\n", "has {{ outside of quotes (line 3): if it is a template, render it first, as 'helm template' does, else write quotes"},
		{"yaml: line 3: did not find expected key", "a: '{{ $labels.a }}'\nb: x {{ .c }}\n", "does not parse: near line 3: a line does not fit to those above: check its indentation and its quotes"},
	} {
		if got := Problem(errors.New(tt.said), []byte(tt.text)); got != tt.want {
			t.Errorf("%q of %q:\ngot  %s\nwant %s", tt.said, tt.text, got, tt.want)
		}
	}
}

// TestTheLineOfABracket: a list or a mapping without its end is told with its own line.
func TestTheLineOfABracket(t *testing.T) {
	for text, want := range map[string]string{
		"a: b\nc: d\ne: [{f: g]\nh: i\n": "does not parse: near line 3: a mapping in { } has no end, or lacks a comma",
		"a: b\nc: d\ne: [f, g\nh: i\n":   "does not parse: near line 3: a list in [ ] has no end, or lacks a comma",
	} {
		var value any
		if got := Problem(yaml.Unmarshal([]byte(text), &value), []byte(text)); got != want {
			t.Errorf("of %q:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestTemplate(t *testing.T) {
	for text, want := range map[string]int{
		"":                                 0,
		"a: b\n":                           0,
		"a: {{ .b }}\n":                    1,
		"a:\n- {{ .b }}\n":                 2,
		"\n  {{- end }}\n":                 2,
		"a: \"{{ .b }}\"\n":                0,
		"a: {b: {c: d}}\n":                 0,
		"a: {{b: c}: d}\n":                 1, // a mapping as a key, which no manifest has
		"a: |\n  text {{ not a template\n": 0,
	} {
		if got := Template([]byte(text)); got != want {
			t.Errorf("%q: got line %d, want %d", text, got, want)
		}
	}
}
