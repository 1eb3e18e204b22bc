// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// editJSON applies edits to a JSON text.
func editJSON(t *testing.T, text string, edits []edit) (string, error) {
	t.Helper()
	tree, problem := parseJSON([]byte(text))
	if problem != "" {
		t.Fatalf("%s %s", text, problem)
	}
	if err := apply(tree.node, edits); err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := writeJSON(&out, tree.node); err != nil {
		t.Fatal(err)
	}
	return out.String(), nil
}

func TestApplyRefusesWhatDoesNotFit(t *testing.T) {
	const text = `{"a":{"b":1},"l":[1,2]}`
	for _, e := range []edit{
		{opRemove, []string{"x"}, nil},
		{opReplace, []string{"x"}, nil},
		{opAdd, []string{"x", "y"}, "z"},
		{opAdd, []string{"a", "b", "c"}, "z"},
		{opAdd, []string{"l", "3"}, "z"},
		{opAdd, []string{"l", "-"}, "z"},
		{opRemove, []string{"l", "2"}, nil},
		{opReplace, []string{"l", "-1"}, "z"},
		{opAdd, []string{"l", "0", "x"}, "z"},
		{opMove, []string{"l", "0"}, 2},
		{opMove, []string{"l", "0"}, nil},
		{opMove, []string{"a", "b"}, 0},
	} {
		if got, err := editJSON(t, text, []edit{e}); err == nil || !strings.Contains(err.Error(), strings.Join(e.path, ".")) {
			t.Errorf("%s %v became %s, %v: want an error that names the path", e.op, e.path, got, err)
		}
	}
}

func TestApply(t *testing.T) {
	const text = `{"b":{"~/x":1},"l":[1,2],"containers":[]}`
	tests := []struct {
		edit edit
		want string
	}{
		{edit{opAdd, []string{"b", "y"}, "z"}, `{"b":{"~/x":1,"y":"z"},"l":[1,2],"containers":[]}`},
		{edit{opAdd, []string{"b"}, "z"}, `{"b":"z","l":[1,2],"containers":[]}`},
		{edit{opReplace, []string{"b", "~/x"}, nil}, `{"b":{"~/x":null},"l":[1,2],"containers":[]}`},
		{edit{opRemove, []string{"b", "~/x"}, nil}, `{"b":{},"l":[1,2],"containers":[]}`},
		{edit{opAdd, []string{"l", "0"}, true}, `{"b":{"~/x":1},"l":[true,1,2],"containers":[]}`},
		{edit{opAdd, []string{"l", "2"}, json.Number("1.50")}, `{"b":{"~/x":1},"l":[1,2,1.50],"containers":[]}`},
		{edit{opRemove, []string{"l", "0"}, nil}, `{"b":{"~/x":1},"l":[2],"containers":[]}`},
		{edit{opMove, []string{"l", "0"}, 1}, `{"b":{"~/x":1},"l":[2,1],"containers":[]}`},
		{edit{opReplace, []string{"l", "1"}, map[string]any{"name": "n", "a": "<"}}, `{"b":{"~/x":1},"l":[1,{"name":"n","a":"<"}],"containers":[]}`},
		{edit{opAdd, []string{"initContainers"}, []any{}}, `{"b":{"~/x":1},"l":[1,2],"initContainers":[],"containers":[]}`},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.edit.op, tt.edit.path), func(t *testing.T) {
			got, err := editJSON(t, text, []edit{tt.edit})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestDiffLeavesTheRestOfAListAlone: what stays is moved, with all that belongs to it,
// and not rewritten in place.
func TestDiffLeavesTheRestOfAListAlone(t *testing.T) {
	from := map[string]any{"l": []any{"old", "a", "b"}}
	to := map[string]any{"l": []any{"new", "first", "b", "a", "last"}}
	want := []edit{
		{opRemove, []string{"l", "0"}, nil},
		{opAdd, []string{"l", "0"}, "new"},
		{opAdd, []string{"l", "1"}, "first"},
		{opMove, []string{"l", "2"}, 3},
		{opAdd, []string{"l", "4"}, "last"},
	}
	if d := cmp.Diff(want, diff(nil, from, to, nil), cmp.AllowUnexported(edit{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// anything makes a JSON value.
func anything(random *rand.Rand, depth int) any {
	switch kind := random.IntN(6); {
	case depth > 0 && kind < 2:
		m := map[string]any{}
		for range random.IntN(4) {
			m[string(rune('a'+random.IntN(4)))] = anything(random, depth-1)
		}
		return m
	case depth > 0 && kind < 4:
		l := []any{}
		for range random.IntN(5) {
			l = append(l, anything(random, depth-1))
		}
		return l
	case kind == 4:
		return nil
	default:
		return json.Number(fmt.Sprint(random.IntN(3)))
	}
}

// TestApplyingADifferenceGivesTheOther holds for any two objects.
func TestApplyingADifferenceGivesTheOther(t *testing.T) {
	const seed = 1
	random := rand.New(rand.NewPCG(seed, seed))
	for range 2000 {
		from := map[string]any{"root": anything(random, 4)}
		to := map[string]any{"root": anything(random, 4)}
		text, err := json.Marshal(from)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(to)
		if err != nil {
			t.Fatal(err)
		}
		edits := diff(nil, from, to, nil)
		edited, err := editJSON(t, string(text), edits)
		if err != nil {
			t.Fatalf("%s to %s by %v: %v", text, want, edits, err)
		}
		value, err := decode([]byte(edited))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(any(to), value); d != "" {
			t.Fatalf("%s to %s by %v (-want +got):\n%s", text, want, edits, d)
		}
	}
}
