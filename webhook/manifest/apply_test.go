// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// value decodes JSON.
func value(t *testing.T, text string) any {
	t.Helper()
	v, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestMergeChangesTheDifferenceAlone: x is a field that the Go type does not know.
func TestMergeChangesTheDifferenceAlone(t *testing.T) {
	tests := []struct{ name, document, from, to, want string }{
		{"nothing", `{"x":1,"a":null}`, `{"a":1}`, `{"a":1}`, `{"x":1,"a":null}`},
		{"a key that is new", `{"x":1}`, `{}`, `{"a":1}`, `{"x":1,"a":1}`},
		{"a key that is gone", `{"x":1,"a":1}`, `{"a":1}`, `{}`, `{"x":1}`},
		{"within", `{"a":{"x":1,"b":1}}`, `{"a":{"b":1}}`, `{"a":{"b":2}}`, `{"a":{"x":1,"b":2}}`},
		{"what the type adds", `{}`, `{"status":{}}`, `{"status":{},"a":1}`, `{"a":1}`},
		{"in what is null", `{"a":null}`, `{"a":{"b":null}}`, `{"a":{"b":null,"c":1}}`, `{"a":{"c":1}}`},
		{"a list", `[{"a":1,"x":1},{"a":2,"x":2}]`, `[{"a":1},{"a":2}]`, `[{"a":3},{"a":2},{"a":1}]`, `[{"a":3},{"a":2,"x":2},{"a":1,"x":1}]`},
		{"elements that look the same", `[{"x":1},{"x":2}]`, `[{},{}]`, `[{},{},{}]`, `[{"x":1},{"x":2},{}]`},
		{"a list of another length", `[1,2]`, `[1]`, `[3]`, `[3]`},
		{"another kind", `{"a":[1]}`, `{"a":[1]}`, `{"a":{"b":1}}`, `{"a":{"b":1}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			document := value(t, tt.document)
			got := merge(document, value(t, tt.from), value(t, tt.to))
			if d := cmp.Diff(value(t, tt.want), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if d := cmp.Diff(value(t, tt.document), document); d != "" {
				t.Errorf("the document itself has changed:\n%s", d)
			}
		})
	}
}

// randomValue returns a random JSON value.
func randomValue(random *rand.Rand, depth int) any {
	switch kind := random.IntN(6); {
	case depth > 0 && kind < 2:
		m := map[string]any{}
		for range random.IntN(4) {
			m[string(rune('a'+random.IntN(4)))] = randomValue(random, depth-1)
		}
		return m
	case depth > 0 && kind < 4:
		l := []any{}
		for range random.IntN(5) {
			l = append(l, randomValue(random, depth-1))
		}
		return l
	case kind == 4:
		return nil
	default:
		return json.Number(fmt.Sprint(random.IntN(3)))
	}
}

// TestMergeIntoItselfGivesTheOther: merging the difference of two values into the first
// gives the second, for any two values.
func TestMergeIntoItselfGivesTheOther(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		from, to := randomValue(random, 4), randomValue(random, 4)
		if d := cmp.Diff(to, merge(from, from, to), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("%v to %v (-want +got):\n%s", from, to, d)
		}
	}
}

func TestPointersArePaths(t *testing.T) {
	for _, path := range [][]string{{}, {""}, {"spec", "volumes"}, {"a/b", "~1", "~0/", "items", "0"}} {
		if got := pathOf(pointer(path)); !slices.Equal(path, got) {
			t.Errorf("%q became %q by %q", path, got, pointer(path))
		}
	}
}

// TestWhatIsRememberedMayBeWrong: other programs can write to the annotation, and to
// the rest of the manifest. Recorded text that does not fit is not written back.
func TestWhatIsRememberedMayBeWrong(t *testing.T) {
	stream := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\n  labels: {shoot-proxy.io/inject: \"true\"}\nspec:\n  volumes: []\n  containers:\n  - name: app\n    image: registry.example/app\n"
	injected := string(Inject([]byte(stream), testOptions(t)).Output)
	const remembered = `"replaced":{"/spec/volumes":" []"}`
	if !strings.Contains(injected, remembered) {
		t.Fatalf("%s is not remembered in\n%s", remembered, injected)
	}
	without := strings.Replace(stream, "  volumes: []\n", "", 1)
	for _, wrong := range []string{
		`{}`, `{"/spec/volumes":" [{name: more}]"}`, `{"/spec/volumes":" {"}`, `{"/spec/volumes":" *unknown"}`, `{"/spec/volumes":"<<"}`,
		`{"":"[]"}`, `{"spec":" null"}`, `{"/spec":" *x"}`, `{"/spec/volumes/0":" null"}`, `{"/spec/containers":" []"}`, `{"/x/y":""}`, `{"/metadata":"<<"}`,
		`{"/spec/volumes":"\n---\nkind: Secret\n"}`, `{"/spec/volumes":" []\n  hostNetwork: true"}`,
	} {
		got := Uninject([]byte(strings.Replace(injected, remembered, `"replaced":`+strings.ReplaceAll(wrong, "'", "''"), 1)))
		if string(got.Output) != without {
			t.Errorf("%s: %v\n%s", wrong, got.Outcomes, cmp.Diff(without, string(got.Output)))
		}
	}
	more := strings.Replace(injected, "  volumes:\n", "  volumes:\n  - name: mine\n    emptyDir: {}\n", 1)
	want := strings.Replace(stream, "  volumes: []\n", "  volumes:\n  - name: mine\n    emptyDir: {}\n", 1)
	if got := Uninject([]byte(more)); string(got.Output) != want {
		t.Errorf("a volume that came later: %v\n%s", got.Outcomes, cmp.Diff(want, string(got.Output)))
	}
}
