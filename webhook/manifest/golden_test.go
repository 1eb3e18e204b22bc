// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/webhook"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// inputs returns the manifests in testdata.
func inputs(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"testdata/*.yaml", "testdata/*.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files...)
	}
	return slices.DeleteFunc(all, func(name string) bool { return name == "testdata/config.yaml" })
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func testOptions(t testing.TB) Options {
	t.Helper()
	defaults, err := webhook.ParseConfig(`--config "webhook.yaml"`, read(t, "testdata/config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Version: "v1.0.0", Defaults: defaults,
		Images: webhook.Images{ProxyClient: "registry.example/proxy-client:v1.0.0", InitRedirect: "registry.example/init-redirect:v1.0.0"},
	}
}

func compare(t *testing.T, golden string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(string(read(t, golden)), string(got)); d != "" {
		t.Errorf("%s, which -update rewrites (-want +got):\n%s", golden, d)
	}
}

// TestGolden: the output and the report for each manifest in testdata.
func TestGolden(t *testing.T) {
	for _, name := range inputs(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			result := Inject(read(t, name), testOptions(t))
			var report bytes.Buffer
			if err := result.Report(&report); err != nil {
				t.Fatal(err)
			}
			compare(t, name+".report.golden", report.Bytes())
			if result.Refused() > 0 {
				if result.Output != nil {
					t.Error("there is output, and a document was refused")
				}
				if _, err := os.Stat(name + ".golden"); err == nil {
					t.Errorf("%s.golden belongs to an output that is none: remove it", name)
				}
				return
			}
			compare(t, name+".golden", result.Output)
		})
	}
}

// TestExplainGolden: the full explanation of each decision.
func TestExplainGolden(t *testing.T) {
	for _, name := range []string{"many.yaml", "list.yaml", "refused.yaml", "warned.yaml"} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Inject(read(t, "testdata/"+name), testOptions(t)).Explain(&out); err != nil {
				t.Fatal(err)
			}
			compare(t, "testdata/"+name+".explain.golden", out.Bytes())
		})
	}
}

// TestUntouchedDocumentsStayAsTheyAre: skipped documents between injected ones stay the
// same, byte for byte.
func TestUntouchedDocumentsStayAsTheyAre(t *testing.T) {
	stream := read(t, "testdata/many.yaml")
	result := Inject(stream, testOptions(t))
	before, after := split(stream), split(result.Output)
	if len(before) != len(after) || len(before) < 7 {
		t.Fatalf("%d documents became %d", len(before), len(after))
	}
	changed := 0
	for i := range before {
		if !bytes.Equal(before[i].head, after[i].head) || !bytes.Equal(before[i].tail, after[i].tail) {
			t.Errorf("what is around document %d has changed", i)
		}
		if bytes.Equal(before[i].body, after[i].body) {
			continue
		}
		changed++
		if !strings.Contains(string(before[i].body), "name: curl") {
			t.Errorf("this has changed, and should not have:\n%s\ninto:\n%s", before[i].body, after[i].body)
		}
	}
	if changed != 1 {
		t.Errorf("%d documents changed, want the one with the label", changed)
	}
}
