// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/internal/yamltext"
)

// change is a change to one pod of a document.
type change struct {
	object        []string // path of the object that has the pod
	pod           []string // path of the pod in the object
	before, after *corev1.Pod
}

// injects reports whether the change injects, and does not uninject.
func (c *change) injects() bool {
	_, ok := c.after.Annotations[webhook.AnnotationStatus]
	return ok
}

// edit returns the document's body after some changes. If an injection replaces text,
// its status annotation records the old text, and uninjecting writes it back.
func (d *document) edit(t *tree, changes []change) ([]byte, error) {
	want, err := t.after(changes)
	if err != nil {
		return nil, err
	}
	edited, err := d.editTo(t, withReplacedTexts(want, changes))
	if err != nil { // the surroundings of the old text have changed
		edited, err = d.editTo(t, want)
	}
	if err != nil {
		return nil, err
	}
	if changes, found := recordReplaced(changes, edited.Replaced); found {
		if want, err = t.after(changes); err != nil {
			return nil, err
		}
		if edited, err = d.editTo(t, want); err != nil {
			return nil, err
		}
	}
	return edited.Text, nil
}

// editTo makes the document mean want, and checks that it does.
func (d *document) editTo(t *tree, want any) (*yamltext.Edited, error) {
	text := yamltext.Document{
		Text: d.body, Root: t.node, Value: t.value,
		Before: map[string]string{"initContainers": "containers"},
	}
	edited, err := text.Edit(want)
	if err != nil {
		return nil, fmt.Errorf("%s: write that part in block style", d.relocate(err.Error()))
	}
	if len(edited.Text) > maxDocumentBytes {
		return nil, fmt.Errorf("it is longer than %d MiB with what is inserted: split it", maxDocumentBytes>>20)
	}
	again := document{body: edited.Text, json: d.json, line: 1}
	got, problem := again.parse()
	if problem != "" {
		return nil, errors.New("inserted text would not be read as it should: write the pod in block style, without anchors")
	}
	if !reflect.DeepEqual(got.value, yamltext.Plain(want)) {
		return nil, errors.New("it would change something else too, as anchors do: write the aliases out")
	}
	return edited, nil
}

// after returns what the document must mean after some changes.
func (t *tree) after(changes []change) (any, error) {
	want := t.value
	for _, c := range changes {
		path := slices.Concat(c.object, c.pod)
		part, _ := valueAt(want, path)
		changed, err := applyChange(part, c.before, c.after)
		if err != nil {
			return nil, err
		}
		if want, err = withValueAt(want, path, changed); err != nil {
			return nil, err
		}
	}
	return want, nil
}

// recordReplaced records replaced texts in the status of each injection. found is false
// if there is nothing to record.
func recordReplaced(changes []change, replaced []yamltext.Source) (all []change, found bool) {
	for _, c := range changes {
		texts := maps.Clone(webhook.Replaced(c.before))
		for _, source := range replaced {
			if len(source.Path) < len(c.object) || !slices.Equal(source.Path[:len(c.object)], c.object) {
				continue
			}
			if texts == nil {
				texts = map[string]string{}
			}
			texts[pointer(source.Path[len(c.object):])] = source.Text
		}
		if len(texts) > 0 && c.injects() {
			c.after, found = webhook.WithReplaced(c.after, texts), true
		}
		all = append(all, c)
	}
	return all, found
}

// withReplacedTexts returns want with the recorded texts in their old places.
func withReplacedTexts(want any, changes []change) any {
	for _, c := range changes {
		if c.injects() {
			continue
		}
		texts := webhook.Replaced(c.before)
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			path := slices.Concat(c.object, pathOf(name))
			source := yamltext.Source{Path: path, Text: texts[name]}
			found, ok := valueAt(want, path)
			source.Value = found
			if text := strings.TrimSpace(source.Text); text != yamltext.Merged && !strings.HasPrefix(text, "*") {
				if source.Value, ok = emptyValue(text); !ok || !isEmpty(found) {
					continue
				}
			}
			if !ok {
				continue
			}
			if with, err := withValueAt(want, path, source); err == nil {
				want = with
			}
		}
	}
	return want
}

// emptyValue returns the value of a text. ok is false if the value is not empty.
func emptyValue(text string) (value any, ok bool) {
	if text == "" {
		return nil, true
	}
	d := document{body: []byte(text), line: 1}
	t, problem := d.parse()
	if problem != "" {
		return nil, false
	}
	return t.value, isEmpty(t.value)
}

// isEmpty reports whether a value is null, or an empty list or mapping.
func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	default:
		return false
	}
}

// pointer returns a path as a JSON pointer (RFC 6901).
func pointer(path []string) string {
	var out strings.Builder
	for _, name := range path {
		out.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return out.String()
}

// pathOf returns the path of a JSON pointer.
func pathOf(pointer string) []string {
	path := strings.Split(pointer, "/")[1:]
	for i := range path {
		path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(path[i])
	}
	return path
}
