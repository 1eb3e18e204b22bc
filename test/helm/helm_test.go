// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// update makes the tests rewrite what is made from the chart, instead of comparing it.
var update = flag.Bool("update", false, "rewrite the golden files and deploy")

const (
	root  = "../.."
	chart = root + "/charts/proxy-client"
	// exitChart is for the shoot, chart for the seed.
	exitChart = root + "/charts/proxy-exit"

	// The chart is installed under these names, in tests and in deploy. A release of
	// exitChart has the chart's name too.
	release   = "proxy-client"
	namespace = "shoot-proxy"

	// kubernetes is the version that helm assumes for the cluster, because it sees none.
	kubernetes = "1.36.0"
)

// readsOutside tells Go's cache of test results that the test reads files outside of this
// module. `make chart-test` gives their checksum in the environment. The cache itself
// checks a module's own files, and the variables that a test reads.
func readsOutside() { _ = os.Getenv("CHART_INPUTS") }

// binary returns the helm that `make helm` builds.
func binary(t *testing.T) string {
	t.Helper()
	readsOutside()
	path := root + "/test/bin/tools-kube/helm"
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no helm: run `make helm` first: %v", err)
	}
	return path
}

// run runs helm without the settings of the user who runs the tests.
func run(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), binary(t), args...)
	cmd.Env = []string{
		"HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_DATA_HOME=" + home,
		"KUBECONFIG=" + filepath.Join(home, "none"),
	}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return stdout.String(), errors.New(exit.String() + ": " + stderr.String() + stdout.String())
	}
	return stdout.String(), err
}

// charts returns the folders of all charts.
func charts() []string { return []string{chart, exitChart} }

// template renders the chart with files of values, without what `helm test` makes.
func template(t *testing.T, values ...string) (string, error) {
	t.Helper()
	return templateOf(t, chart, values...)
}

// templateOf is [template] for one of [charts].
func templateOf(t *testing.T, folder string, values ...string) (string, error) {
	t.Helper()
	args := []string{"template", filepath.Base(folder), folder, "--namespace", namespace, "--kube-version", kubernetes, "--skip-tests"}
	for _, file := range values {
		args = append(args, "--values", file)
	}
	return run(t, args...)
}

// files returns the files that match a pattern. There must be at least one.
func files(t *testing.T, pattern string) []string {
	t.Helper()
	readsOutside()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("no file is like %s (%v)", pattern, err)
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	readsOutside()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// compare compares got with a file, or writes it there.
func compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		write(t, path, got)
		return
	}
	readsOutside()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run `make manifests`, and look at what it wrote", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the chart makes something else of %s: run `make manifests`, and look at the difference (-file +chart):\n%s", path, diff)
	}
}

// object is a Kubernetes object.
type object map[string]any

// at returns the value at a path of fields; nil if one of them does not exist.
func (o object) at(path ...string) any {
	var value any = map[string]any(o)
	for _, name := range path {
		fields, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = fields[name]
	}
	return value
}

func (o object) name() string {
	kind, _ := o["kind"].(string)
	name, _ := o.at("metadata", "name").(string)
	return kind + "/" + name
}

// parse returns the objects of a file with one or more documents.
func parse(t *testing.T, text string) []object {
	t.Helper()
	var objects []object
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	for {
		var o map[string]any
		switch err := decoder.Decode(&o); {
		case errors.Is(err, io.EOF):
			return objects
		case err != nil:
			t.Fatalf("not YAML: %v", err)
		case o != nil:
			objects = append(objects, o)
		}
	}
}

// find returns the only object of a kind.
func find(t *testing.T, objects []object, kind string) object {
	t.Helper()
	var found []object
	for _, o := range objects {
		if o["kind"] == kind {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("there are %d objects of kind %s, not one", len(found), kind)
	}
	return found[0]
}
