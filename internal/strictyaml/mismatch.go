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

// place is where in a file a value is.
type place struct {
	kind     string                  // of the file
	path     string                  // with dots, empty for the file itself
	sections map[string]reflect.Type // all sections of the file, by their paths
	inMerged bool                    // in what a section takes over
}

// mismatch says what at a place does not become a value of type t: the first mistake,
// in the order of the file. It is empty if the decoder would take all of it.
func (p place) mismatch(n *yaml.Node, t reflect.Type) string {
	n = target(n)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return ""
	}
	switch {
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		return p.fields(n, t)
	case t.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if problem := p.below(n.Content[i].Value).mismatch(n.Content[i+1], t.Elem()); problem != "" {
				return problem
			}
		}
		return p.duplicate(n)
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for i, e := range n.Content {
			at := p
			at.path += fmt.Sprintf("[%d]", i)
			if e.Kind == yaml.ScalarNode && e.Tag == "!!null" { // the decoder drops it
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
		return p.wrong(n, t)
	}
}

// target is what an alias stands for, and any other node itself.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// fields judges the fields of a section.
func (p place) fields(n *yaml.Node, t reflect.Type) string {
	if p.sections == nil {
		p.sections = map[string]reflect.Type{}
		collect(p.sections, "", t)
	}
	known := fieldsOf(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Value == mergeKey {
			if problem := p.merged(value, t); problem != "" {
				return problem
			}
			continue
		}
		field, ok := known[key.Value]
		if !ok {
			return fmt.Sprintf("has in line %d the unknown field %s%s: %s", key.Line, word(key.Value), p.in(), p.meant(key.Value, known))
		}
		if problem := p.below(key.Value).mismatch(value, field); problem != "" {
			return problem
		}
	}
	return p.duplicate(n)
}

// mergeKey takes over what an alias has, or each of several (yaml.org/type/merge.html).
const mergeKey = "<<"

// merged judges the fields that a section takes over. What those take over themselves
// the decoder judges: an alias may lead back to where it is.
func (p place) merged(n *yaml.Node, t reflect.Type) string {
	n = target(n)
	sources := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		sources = n.Content
	}
	for _, source := range sources {
		source = target(source)
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

// duplicate finds a key that is there twice.
func (p place) duplicate(n *yaml.Node) string {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if line, ok := first[key.Value]; ok {
			return fmt.Sprintf("has in line %d the field %s, which is in line %d already: remove one", key.Line, p.below(key.Value).path, line)
		}
		first[key.Value] = key.Line
	}
	return ""
}

func (p place) below(name string) place {
	p.path = strings.TrimPrefix(p.path+"."+word(name), ".")
	return p
}

// maxWord is how many bytes of a file's word go into a sentence.
const maxWord = 64

// plain is a word that needs no quotes, in a sentence and in a list.
var plain = regexp.MustCompile(`^[\w./-][\w./:-]{0,63}$`)

// word is a name of the file's, in quotes if it could be taken for something else.
func word(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return strconv.Quote(clip.Text(s, maxWord))
}

// in names the section, if there is one.
func (p place) in() string {
	if p.path == "" {
		return ""
	}
	return " in section " + p.path
}

// meant says what to do about an unknown field.
func (p place) meant(name string, known map[string]reflect.Type) string {
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

// wrong says that a value is of another kind than what belongs there.
func (p place) wrong(n *yaml.Node, t reflect.Type) string {
	if p.path == "" { // it may be a key: nothing of it is quoted
		what := kindOf(n)
		if n.Kind == yaml.ScalarNode {
			what = "a text"
		}
		return fmt.Sprintf("is %s: write an %s", what, p.kind)
	}
	return fmt.Sprintf("has in line %d %s for %s: write %s", n.Line, kindOf(n), p.path, example(n, t))
}

// kindOf is what a value is.
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

// example is how a value of type t is written.
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

// collect finds the sections of a file.
func collect(sections map[string]reflect.Type, path string, t reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	sections[path] = t
	for name, field := range fieldsOf(t) {
		collect(sections, strings.TrimPrefix(path+"."+name, "."), field)
	}
}
