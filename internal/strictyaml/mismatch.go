// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/spelling"
)

// place is the position of a value in a file.
type place struct {
	kind     string                  // of the file
	path     string                  // with dots; empty for the file itself
	sections map[string]reflect.Type // all sections of the file, by path
	inMerged bool                    // inside fields that a section takes over with <<
	stated   bool                    // a field without a value is a mistake
}

// mismatch returns why n cannot become a value of type t: the first mistake, in the
// order of the file. It is empty if the decoder accepts all of n.
func (p place) mismatch(n *yaml.Node, t reflect.Type) string {
	n = unalias(n)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		if p.stated && p.path != "" {
			return fmt.Sprintf("has in line %d nothing for %s: write a value, or remove the field", n.Line, p.path)
		}
		return ""
	}
	switch {
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		return p.fields(n, t)
	case t.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if problem := p.child(n.Content[i].Value).mismatch(n.Content[i+1], t.Elem()); problem != "" {
				return problem
			}
		}
		return p.duplicate(n)
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for i, e := range n.Content {
			at := p
			at.path += fmt.Sprintf("[%d]", i)
			if e.Kind == yaml.ScalarNode && e.Tag == "!!null" { // the decoder would drop it
				return fmt.Sprintf("has in line %d nothing for %s: write it, or remove the dash", e.Line, at.path)
			}
			if problem := at.mismatch(e, t.Elem()); problem != "" {
				return problem
			}
		}
		return ""
	case n.Decode(reflect.New(t).Interface()) == nil:
		return ""
	default:
		return p.wrongKind(n, t)
	}
}

// unalias returns the node that an alias stands for, and any other node unchanged.
func unalias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// fields returns the first mistake in the fields of a section.
func (p place) fields(n *yaml.Node, t reflect.Type) string {
	if p.sections == nil {
		p.sections = map[string]reflect.Type{}
		collectSections(p.sections, "", t)
	}
	known := fieldsOf(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Value == mergeKey {
			if problem := p.mergedFields(value, t); problem != "" {
				return problem
			}
			continue
		}
		field, ok := known[key.Value]
		if !ok {
			return fmt.Sprintf("has in line %d the unknown field %s%s: %s", key.Line, word(key.Value), p.inSection(), p.suggestion(key.Value, known))
		}
		if problem := p.child(key.Value).mismatch(value, field); problem != "" {
			return problem
		}
	}
	return p.duplicate(n)
}

// mergeKey takes over the fields of an alias, or of each of several
// (yaml.org/type/merge.html).
const mergeKey = "<<"

// mergedFields returns the first mistake in the fields that a section takes over. It
// leaves nested merges to the decoder, because an alias may contain itself.
func (p place) mergedFields(n *yaml.Node, t reflect.Type) string {
	n = unalias(n)
	sources := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		sources = n.Content
	}
	for _, source := range sources {
		source = unalias(source)
		if source.Kind != yaml.MappingNode || p.inMerged {
			continue
		}
		p := p
		p.inMerged = true
		if problem := p.fields(source, t); problem != "" {
			return problem
		}
	}
	return ""
}

// duplicate reports a key that is present twice.
func (p place) duplicate(n *yaml.Node) string {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if line, ok := first[key.Value]; ok {
			return fmt.Sprintf("has in line %d the field %s, which is in line %d already: remove one", key.Line, p.child(key.Value).path, line)
		}
		first[key.Value] = key.Line
	}
	return ""
}

func (p place) child(name string) place {
	p.path = strings.TrimPrefix(p.path+"."+word(name), ".")
	return p
}

// maxWord is how many bytes of a word from the file go into a sentence.
const maxWord = 64

// plain matches words that need no quotes, in a sentence and in a list.
var plain = regexp.MustCompile(`^[\w./-][\w./:-]{0,63}$`)

// word returns a name from the file, in quotes if it could be misread.
func word(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return strconv.Quote(clip.Text(s, maxWord))
}

// inSection names the section, or returns "" at the top of the file.
func (p place) inSection() string {
	if p.path == "" {
		return ""
	}
	return " in section " + p.path
}

// suggestion returns what to do about an unknown field.
func (p place) suggestion(name string, known map[string]reflect.Type) string {
	names := slices.Sorted(maps.Keys(known))
	if question := spelling.Question(name, names, ""); question != "" {
		return question
	}
	paths := slices.Sorted(maps.Keys(p.sections))
	for _, path := range paths {
		if _, ok := fieldsOf(p.sections[path])[name]; !ok {
			continue
		}
		if path == "" {
			return "it belongs to the top of the file"
		}
		return "it belongs into section " + path
	}
	for _, path := range paths {
		near := spelling.Nearest(name, slices.Sorted(maps.Keys(fieldsOf(p.sections[path]))))
		switch {
		case near == "":
		case path == "":
			return "did you mean " + near + " at the top of the file?"
		default:
			return "did you mean " + near + " in section " + path + "?"
		}
	}
	return "known here are " + strings.Join(names, ", ")
}

// wrongKind reports that a value is of another kind than t needs.
func (p place) wrongKind(n *yaml.Node, t reflect.Type) string {
	if p.path == "" { // it may be a key: nothing of it is quoted
		what := kindOf(n)
		if n.Kind == yaml.ScalarNode {
			what = "a text"
		}
		return fmt.Sprintf("is %s: write an %s", what, p.kind)
	}
	return fmt.Sprintf("has in line %d %s for %s: write %s", n.Line, kindOf(n), p.path, example(n, t))
}

// kindOf returns what kind of value n is, in words.
func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Value == "":
		return "an empty text"
	default:
		return strconv.Quote(clip.Text(n.Value, maxWord))
	}
}

// example returns how a value of type t is written.
func example(n *yaml.Node, t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		if n.Kind == yaml.ScalarNode && plain.MatchString(n.Value) {
			return "a list, [" + n.Value + "]"
		}
		return "a list, such as [a, b]"
	case reflect.Struct:
		return "a section with the fields " + strings.Join(slices.Sorted(maps.Keys(fieldsOf(t))), ", ")
	case reflect.Map:
		return "a mapping, such as {name: value}"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "one text"
	}
	if t == reflect.TypeFor[time.Duration]() {
		return "a duration, such as 8s"
	}
	return "a number"
}

// fieldsOf returns the fields of a section, by their names in a file.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	known := map[string]reflect.Type{}
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			maps.Copy(known, fieldsOf(field.Type))
		case name != "" && name != "-":
			known[name] = field.Type
		}
	}
	return known
}

// collectSections adds t and the sections below it to sections.
func collectSections(sections map[string]reflect.Type, path string, t reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	sections[path] = t
	for name, field := range fieldsOf(t) {
		collectSections(sections, strings.TrimPrefix(path+"."+name, "."), field)
	}
}
