// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// meaning returns the values of a stream without nulls and empty values, because the Go
// types do not distinguish those from absent ones.
func meaning(t testing.TB, stream []byte) []any {
	t.Helper()
	var all []any
	for _, d := range split(stream) {
		if !d.hasContent() {
			continue
		}
		tree, problem := d.parse()
		if problem != "" {
			t.Fatalf("what came out %s:\n%s", problem, d.body)
		}
		all = append(all, prune(tree.value))
	}
	return all
}

func prune(value any) any {
	switch v := value.(type) {
	case map[string]any:
		kept := map[string]any{}
		for key, child := range v {
			if child = prune(child); child != nil {
				kept[key] = child
			}
		}
		if len(kept) == 0 {
			return nil
		}
		return kept
	case []any:
		var kept []any
		for _, child := range v {
			kept = append(kept, prune(child))
		}
		if len(kept) == 0 {
			return nil
		}
		return kept
	}
	return value
}

// checkProperties checks what holds for every stream that is not refused.
func checkProperties(t testing.TB, stream []byte, o Options) {
	t.Helper()
	once := Inject(stream, o)
	if once.Refused() > 0 {
		if once.Output != nil {
			t.Fatal("there is output, and a document was refused")
		}
		return
	}
	injected := 0
	for _, outcome := range once.Outcomes {
		if outcome.Decision == webhook.Inject {
			injected++
		}
	}
	if injected == 0 && !bytes.Equal(once.Output, stream) {
		t.Fatalf("nothing was injected, and\n%q\nbecame\n%q", stream, once.Output)
	}
	if twice := Inject(once.Output, o); !bytes.Equal(twice.Output, once.Output) {
		t.Fatalf("injecting twice differs from once (-once +twice):\n%s\n%v", cmp.Diff(string(once.Output), string(twice.Output)), twice.Outcomes)
	}
	undone, never := Uninject(once.Output), Uninject(stream)
	if never.Refused() > 0 {
		return // another program's status, on a pod without the label
	}
	if undone.Refused() > 0 {
		t.Fatalf("what was injected cannot be taken out: %v", undone.Outcomes)
	}
	if d := cmp.Diff(string(never.Output), string(undone.Output)); d != "" {
		t.Fatalf("injected and taken out again it is another (-before +after):\n%s\nof\n%s", d, once.Output)
	}
}

func TestPropertiesOfInjection(t *testing.T) {
	for _, name := range inputs(t) {
		for _, native := range []string{"", "true", "false"} {
			t.Run(filepath.Base(name)+" "+native, func(t *testing.T) {
				o := testOptions(t)
				o.NativeSidecar = native
				checkProperties(t, read(t, name), o)
			})
		}
	}
}

// TestAnotherVersionIsBroughtUpToDate: an injection of another version is updated in
// place, in any order of containers.
func TestAnotherVersionIsBroughtUpToDate(t *testing.T) {
	for _, name := range []string{"comments.yaml", "list.yaml", "podlist.json", "stream.json"} {
		for _, order := range [][2]string{{"true", "true"}, {"true", "false"}, {"false", "true"}, {"false", "false"}} {
			t.Run(name+" "+order[0]+" to "+order[1], func(t *testing.T) {
				old, current := testOptions(t), testOptions(t)
				old.Version, old.Images.ProxyClient, old.NativeSidecar = "v0.9.0", "registry.example/proxy-client:v0.9.0", order[0]
				current.NativeSidecar = order[1]
				stream := read(t, "testdata/"+name)
				upgraded := Inject(Inject(stream, old).Output, current)
				if d := cmp.Diff(meaning(t, Inject(stream, current).Output), meaning(t, upgraded.Output)); d != "" {
					t.Errorf("brought up to date it is another than injected at once (-at once +later):\n%s", d)
				}
				checkProperties(t, upgraded.Output, current)
			})
		}
	}
}

func TestNativeSidecarAndConfigMapDecide(t *testing.T) {
	o := testOptions(t)
	o.Defaults, o.NativeSidecar = nil, "true"
	stream := read(t, "testdata/refused.yaml")
	var err error
	o.ConfigMap, err = webhook.ParseNamespaceConfig(`--configmap "shop.yaml"`, read(t, "testdata/config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	named := Inject(stream, o).Outcomes[2]
	if named.Name != "named" || named.Decision != webhook.Inject {
		t.Fatalf("want the pod that names a ConfigMap injected, got %s", named)
	}
	for _, v := range named.Values {
		want := map[string]string{"shoot.podCIDRs": `--configmap "shop.yaml"`, "nativeSidecar": "--native-sidecar"}[v.Name]
		if want != "" && v.Source != want {
			t.Errorf("%s comes from %s, want %s", v.Name, v.Source, want)
		}
	}
	if len(named.Values) == 0 {
		t.Error("no values are told")
	}
}

// FuzzDocuments: no stream causes a panic, the parts of a stream make up the stream,
// and the properties hold.
func FuzzDocuments(f *testing.F) {
	for _, name := range inputs(f) {
		for _, d := range split(read(f, name)) { // small ones, to be fast
			f.Add(slices.Concat(d.head, d.body, d.tail))
		}
	}
	f.Add(Inject(read(f, "testdata/warned.yaml"), testOptions(f)).Output)
	for _, stream := range []string{"", "\ufeff---\n", "---", "...\n...\n--- |\n", "%TAG ! !x\n---\n!a b\n", "a: &a [*a]\n", "{}{}[]", "\x00", "? - a\n: b\n", "a: b\r--- \rc: d"} {
		f.Add([]byte(stream))
	}
	o := testOptions(f)
	f.Fuzz(func(t *testing.T, stream []byte) {
		var again []byte
		for _, d := range split(stream) {
			again = append(append(append(again, d.head...), d.body...), d.tail...)
		}
		if !bytes.Equal(stream, again) {
			t.Fatalf("%q was split into parts of %q", stream, again)
		}
		checkProperties(t, stream, o)
	})
}
