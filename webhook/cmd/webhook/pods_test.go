// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/program"
)

// pods is the folder of package webhook's golden pods.
const pods = "../../testdata/"

// decided is the content of a golden file of package webhook.
type decided struct {
	decision string // inject, skip or refuse
	sentence string
	pod      string // the injected pod
	// flags replace what Mutate knew about the cluster.
	flags []string
	hash  *regexp.Regexp // matches what has another hash; nil for nothing
}

var goldenHead = regexp.MustCompile(`^(inject|skip|refuse) \((\w+)\): (.*)\n`)

// goldenOf reads the golden file of a pod.
func goldenOf(t *testing.T, name string) decided {
	t.Helper()
	text := readAll(t, pods+name+".golden")
	head := goldenHead.FindStringSubmatch(text)
	if head == nil {
		t.Fatalf("%s.golden begins with %.80q", name, text)
	}
	said, pod, _ := strings.Cut(text, "---\n")
	d := decided{decision: head[1], sentence: head[3], pod: pod}
	for line := range strings.Lines(said) {
		if detail, ok := strings.CutPrefix(line, "detail: "); ok {
			d.sentence = strings.TrimSpace(detail) // the reader has the files, and may see their content
		}
	}
	if strings.Contains(said, "value: nativeSidecar = auto ") && strings.Contains(d.sentence, "first container") {
		d.flags = append(d.flags, "--native-sidecar=false") // old nodes decided; files do not show nodes
	}
	return d
}

// unknownToFiles are the golden pods for which a cluster knows more than files do. The
// functions change the expected result to that of the commands.
var unknownToFiles = map[string]func(*decided){
	"gardener": func(d *decided) { // the Cluster's CIDRs are --config's here, and with them the hash
		d.pod = strings.ReplaceAll(d.pod, "100.96.0.0/11", "100.64.0.0/12")
		d.hash = regexp.MustCompile(`"hash":"[0-9a-f]+"`)
	},
	"old-nodes": func(d *decided) { *d = decided{decision: webhook.Inject.String()} },
	"unknown-nodes-job": func(d *decided) {
		*d = decided{decision: webhook.Inject.String(), sentence: "added init-redirect, and proxy-client as native sidecar"}
	},
}

// TestGoldenPodsThroughTheFileCommands: for the pods in package webhook's testdata,
// inject gives the same result as Mutate, with the same messages. uninject restores the
// input.
func TestGoldenPodsThroughTheFileCommands(t *testing.T) {
	files, err := filepath.Glob(pods + "*.golden")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d golden pods, error %v", len(files), err)
	}
	for _, golden := range files {
		name := strings.TrimSuffix(filepath.Base(golden), ".golden")
		t.Run(name, func(t *testing.T) { throughFileCommands(t, name) })
	}
}

func throughFileCommands(t *testing.T, name string) {
	want := goldenOf(t, name)
	if adapt := unknownToFiles[name]; adapt != nil {
		adapt(&want)
	}
	input := readAll(t, pods+name+".yaml")
	flags := append([]string{"-f", "-", "--namespace=shop"}, want.flags...)
	version := "another build" // the configuration has the version and the images
	if slices.Contains([]string{"no-config", "no-config-annotated", "no-config-unix", "server-in-shoot"}, name) {
		version = "v1.0.0"
		flags = append(flags, "--proxy-client-image=registry.example/proxy-client:v1.0.0", "--init-redirect-image=registry.example/init-redirect:v1.0.0")
	} else {
		flags = append(flags, "--config="+firstOf(pods+name+".config.yaml", pods+"config.yaml"))
	}
	if file := firstOf(pods + name + ".configmap.yaml"); file != "" {
		flags = append(flags, "--configmap="+file)
	}
	code, stdout, stderr := outcomeOf(t, version, input, append([]string{"inject"}, flags...)...)
	switch want.decision {
	case webhook.Refuse.String():
		if code == program.Done || stdout != "" || !strings.Contains(unquoted(stderr), unquoted(want.sentence)) {
			t.Errorf("exit code %d, stdout %q, stderr\n%s\nwant a refusal: %s", code, stdout, stderr, want.sentence)
		}
		return
	case webhook.Skip.String():
		if code != program.Done || stdout != input || !strings.Contains(unquoted(stderr), "skipped: "+unquoted(want.sentence)) {
			t.Errorf("exit code %d, stderr\n%s\nwant it skipped: %s; and as it was:%s", code, stderr, want.sentence, cmp.Diff(input, stdout))
		}
		return
	}
	if code != program.Done || !strings.Contains(stderr, "injected: "+want.sentence) {
		t.Fatalf("exit code %d, stderr\n%s\nwant it injected: %s", code, stderr, want.sentence)
	}
	got := canonical(t, stdout)
	if want.hash != nil {
		want.pod, got = want.hash.ReplaceAllString(want.pod, "HASH"), want.hash.ReplaceAllString(got, "HASH")
	}
	if d := cmp.Diff(want.pod, got); d != "" && want.pod != "" {
		t.Errorf("Mutate and inject make two pods of it (-Mutate +inject):\n%s", d)
	}
	if strings.Contains(input, webhook.AnnotationStatus) {
		return // it was injected before
	}
	code, undone, stderr := outcomeOf(t, version, stdout, "uninject", "-f", "-")
	if d := cmp.Diff(canonical(t, input), canonical(t, undone)); code != program.Done || d != "" {
		t.Errorf("uninject: exit code %d, stderr\n%s\n(-before +after):\n%s", code, stderr, d)
	}
}

// firstOf returns the first file that exists, or "".
func firstOf(names ...string) string {
	for _, name := range names {
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	return ""
}

// canonical returns a pod in the form of the golden files.
func canonical(t *testing.T, manifest string) string {
	t.Helper()
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(manifest), pod); err != nil {
		t.Fatalf("%v:\n%s", err, manifest)
	}
	text, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sources matches the names of a ConfigMap and of the file that replaces it.
var sources = regexp.MustCompile(`ConfigMap "[^"]*"|--configmap "[^"]*"|--config( "[^"]*")?`)

// unquoted returns a sentence without the names of the sources.
func unquoted(sentence string) string { return sources.ReplaceAllString(sentence, "SOURCE") }

func readAll(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
