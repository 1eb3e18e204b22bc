// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/shoot-proxy/proxy-client/webhook/internal/podpatch"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// requestChanges are the changes to a golden case's request that no file holds.
var requestChanges = map[string]func(*Request){
	"restricted-namespace": func(r *Request) { r.Namespace.PodSecurity = "restricted" },
	"gardener": func(r *Request) {
		r.Networking = &Networking{Source: "Cluster shop", PodCIDRs: []string{"100.96.0.0/11"}, NodeCIDRs: []string{"10.222.0.0/16"}}
	},
	"no-config":           func(r *Request) { r.Defaults = nil },
	"no-config-annotated": func(r *Request) { r.Defaults = nil },
	"no-config-unix":      func(r *Request) { r.Defaults = nil },
	"server-in-shoot":     func(r *Request) { r.Defaults = nil },
	"old-nodes":           func(r *Request) { r.OldestNode = 28 },
	"old-nodes-auto":      func(r *Request) { r.OldestNode = 32 },
	"unknown-nodes":       func(r *Request) { r.OldestNode = 0 },
	"unknown-nodes-job":   func(r *Request) { r.OldestNode = 0 },
}

// goldenCases returns the names of the pods in testdata.
func goldenCases(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		if name != "config" && !strings.Contains(name, ".") {
			names = append(names, name)
		}
	}
	return names
}

// goldenRequest returns the request of a case, or a refusal that comes before Mutate.
func goldenRequest(t testing.TB, name string) (Request, *Result) {
	t.Helper()
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(read(t, "testdata/"+name+".yaml"), pod); err != nil {
		t.Fatal(err)
	}
	r := Request{
		Pod: pod, Namespace: Namespace{Name: "shop"}, Version: "another build", OldestNode: 34,
	}
	file := "testdata/" + name + ".config.yaml"
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		file = "testdata/config.yaml"
	}
	var err error
	if r.Defaults, err = ParseConfig("--config", read(t, file)); err != nil {
		t.Fatal(err)
	}
	if set := requestChanges[name]; set != nil {
		set(&r)
	}
	if r.Defaults == nil { // from the files
		r.Version = "v1.0.0"
		r.Images = Images{ProxyClient: "registry.example/proxy-client:v1.0.0", InitRedirect: "registry.example/init-redirect:v1.0.0"}
	}
	configMap, _, refusal := ConfigMapFor(pod, r.Defaults)
	if refusal != nil {
		return r, refusal
	}
	file = "testdata/" + name + ".configmap.yaml"
	if _, err := os.Stat(file); err == nil {
		if r.ConfigMap, err = ParseNamespaceConfig(fmt.Sprintf("ConfigMap %q", configMap), read(t, file)); err != nil {
			refused := Refused(ReasonBadConfig, err.Error())
			refused.Detail = Detail(err)
			return r, &refused
		}
	}
	return r, nil
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestGolden: the result for each pod in testdata, with its messages.
func TestGolden(t *testing.T) {
	for _, name := range goldenCases(t) {
		t.Run(name, func(t *testing.T) {
			r, refusal := goldenRequest(t, name)
			before := r.Pod.DeepCopy()
			var result Result
			if refusal != nil {
				result = *refusal
			} else {
				result = Mutate(r)
			}
			if d := cmp.Diff(before, r.Pod); d != "" {
				t.Errorf("Mutate has changed the pod that it was given:\n%s", d)
			}
			golden := "testdata/" + name + ".golden"
			got := render(t, result)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(string(read(t, golden)), got); d != "" {
				t.Errorf("not as in %s, which -update rewrites:\n%s", golden, d)
			}
			for _, w := range result.Warnings {
				if n := len([]rune(w)); n > maxWarning {
					t.Errorf("a warning of %d characters: %s", n, w)
				}
			}
		})
	}
}

// render returns a result as text for people.
func render(t testing.TB, r Result) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s\n", r.Decision, r.Reason, r.Message)
	if r.Detail != "" {
		fmt.Fprintf(&b, "detail: %s\n", r.Detail)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	for _, v := range r.Values {
		fmt.Fprintf(&b, "value: %s = %s (%s)\n", v.Name, v.Value, v.Source)
	}
	if r.Pod != nil {
		text, err := yaml.Marshal(r.Pod)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "---\n%s", text)
	}
	return b.String()
}

// BenchmarkMutate measures an admission without its HTTP part.
func BenchmarkMutate(b *testing.B) {
	r, _ := goldenRequest(b, "prometheus-operator")
	b.ReportAllocs()
	for b.Loop() {
		result := Mutate(r)
		if _, err := podpatch.Between(r.Pod, result.Pod); err != nil {
			b.Fatal(err)
		}
	}
}
