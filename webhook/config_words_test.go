// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// libraryWords are words that only a library would use.
var libraryWords = regexp.MustCompile(`!!|unmarshal|yaml:|json:|strconv|time: |parsing |regular expression|\bint\d*\b|\bmap\[|go type|netip|ParsePrefix|invalid syntax|  `)

// leafPaths returns the paths of all values in a section.
func leafPaths(path []string, t reflect.Type) [][]string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return [][]string{path}
	}
	var all [][]string
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			all = append(all, leafPaths(append(path[:len(path):len(path)], name), field.Type)...)
		}
	}
	return all
}

// TestConfigSpeaksOurWords: for any value, the sentence names the field, and no type of
// a library.
func TestConfigSpeaksOurWords(t *testing.T) {
	refused := 0
	for _, path := range leafPaths(nil, reflect.TypeFor[configfile.File]()) {
		if path[0] == "apiVersion" || path[0] == "kind" {
			continue
		}
		for _, value := range []string{
			"{a: b}", "[a]", "[[a]]", "[{a: b}]", "text", "a text, of words", "''", "[]", "{}", "-1", "1.5", "99999999999999999999999", "true", "2026-01-01",
			"!!binary x", "!!int x", "{a: [b]}", "{cpu: much}", "{cpu: [1]}", "[10.0.0.0/33]", "['']", "10.0.0.0/8", "\"\\e[2J\"", "{a: &b [*b]}", "[1, b",
		} {
			text := header + strings.Join(path[:len(path)-1], ": {") + ": {" + path[len(path)-1] + ": " + value + strings.Repeat("}", len(path)-1) + "\n"
			if len(path) == 1 {
				text = header + path[0] + ": " + value + "\n"
			}
			_, err := ParseConfig("--config", []byte(text))
			if err == nil {
				continue
			}
			refused++
			said := err.Error()
			if libraryWords.MatchString(said) || strings.ContainsAny(said, "\n\x1b") || len(said) > 1000 {
				t.Errorf("%s: %s\n%s", strings.Join(path, "."), value, said)
			}
			if syntax := strings.Contains(said, "does not parse: "); !syntax && !strings.Contains(said, path[len(path)-1]) {
				t.Errorf("%s: %s\nis not named: %s", strings.Join(path, "."), value, said)
			}
		}
	}
	if refused < 300 {
		t.Error(fmt.Sprint("only ", refused, " are refused"))
	}
}
