// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// outcome runs the program, in version v1.2.3, to its end.
func outcome(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return outcomeOf(t, "v1.2.3", stdin, args...)
}

func outcomeOf(t *testing.T, version, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(environment{args: args, stdin: strings.NewReader(stdin), stdout: &out, stderr: &err, version: version})
	return code, out.String(), err.String()
}

// file writes a text to a file, and returns its name.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const (
	config = `apiVersion: config.shoot-proxy.io/v1alpha1
kind: InjectionConfig
shoot: {podCIDRs: [100.64.0.0/12]}
proxyServer:
  addresses: ["vpn-proxy-server:8090"]
  tls: {caSecret: ca-proxy, clientSecret: proxy-client-tls}
`
	labelled = `apiVersion: v1
kind: Pod
metadata:
  name: app
  labels:
    shoot-proxy.io/inject: "true"
spec:
  containers:
  - name: app
    image: registry.example/app
`
	hostNetwork = labelled + "  hostNetwork: true\n"
	other       = "kind:   Other # as it was\n"
)

func TestBadInputIsOneSentenceAndExitCode2(t *testing.T) {
	good, manifest := file(t, config), file(t, labelled)
	tests := []struct {
		name string
		args []string
		want []string // contained in the sentence
	}{
		{"no command", nil, []string{"command", "--help"}},
		{"unknown command", []string{"injekt"}, []string{"injekt"}},
		{"unknown flag", []string{"inject", "-f", manifest, "--configs=x"}, []string{"--configs"}},
		{"an argument", []string{"inject", manifest}, []string{manifest, "-f " + manifest}},
		{"what a shell makes of a pattern", []string{"explain", "-f", manifest, manifest}, []string{manifest, "-f " + manifest}},
		{"argument for version", []string{"version", "please"}, []string{"please"}},
		{"no file", []string{"inject", "--config", good}, []string{"--filename", "missing", "-"}},
		{"no file to explain", []string{"explain"}, []string{"--filename"}},
		{"no file to uninject", []string{"uninject"}, []string{"--filename"}},
		{"a configuration to uninject", []string{"uninject", "-f", manifest, "--config", good}, []string{"--config"}},
		{"a file that is none", []string{"inject", "-f", "/nowhere.yaml"}, []string{"--filename", "/nowhere.yaml", "no such file"}},
		{"native-sidecar", []string{"inject", "-f", manifest, "--native-sidecar=yes"}, []string{"--native-sidecar", "yes", "auto, true or false"}},
		{"namespace", []string{"inject", "-f", manifest, "--namespace=My_Shop"}, []string{"--namespace", "My_Shop"}},
		{"an empty configuration", []string{"inject", "-f", manifest, "--config="}, []string{"--config", "is empty", "leave the flag out"}},
		{"an empty ConfigMap", []string{"explain", "-f", manifest, "--configmap", ""}, []string{"--configmap", "is empty"}},
		{"an empty namespace", []string{"inject", "-f", manifest, "--namespace="}, []string{"--namespace", "is empty"}},
		{"no image", []string{"inject", "-f", manifest, "--proxy-client-image="}, []string{"--proxy-client-image", "empty"}},
		{"bad image", []string{"inject", "-f", manifest, "--init-redirect-image=a b"}, []string{"--init-redirect-image", "a b"}},
		{"a configuration that is none", []string{"inject", "-f", manifest, "--config=/nowhere.yaml"}, []string{"--config", "/nowhere.yaml", "no such file"}},
		{"bad configuration", []string{"inject", "-f", manifest, "--config", manifest}, []string{"--config", manifest}},
		{"configuration from standard input", []string{"inject", "-f", manifest, "--config=-"}, []string{"--config", "standard input"}},
		{"bad ConfigMap", []string{"inject", "-f", manifest, "--configmap", file(t, config+"policy: {}\n")}, []string{"--configmap", "policy"}},
		{"the ConfigMap as an object", []string{"inject", "-f", manifest, "--configmap", file(t, "kind: ConfigMap\ndata: {config.yaml: a}\n")}, []string{`.yaml" (key config.yaml) is a text: write an InjectionConfig`}},
		{"a ConfigMap of something else", []string{"inject", "-f", manifest, "--configmap", file(t, "kind: ConfigMap\ndata: {a.yaml: b}\n")}, []string{"--configmap", "is a ConfigMap without the key config.yaml", "InjectionConfig"}},
		{"two ConfigMaps", []string{"inject", "-f", manifest, "--configmap", file(t, wholeConfigMap(config)+"---\n"+wholeConfigMap(config))}, []string{"--configmap", "is the whole ConfigMap"}},
		{"a bad value in the whole ConfigMap", []string{"inject", "-f", manifest, "--configmap", file(t, wholeConfigMap(strings.Replace(config, "100.64.0.0/12", "100.64.0.1/12", 1)))}, []string{`.yaml" (key config.yaml) shoot.podCIDRs "100.64.0.1/12"`}},
		{"the ConfigMap for the operator's file", []string{"inject", "-f", manifest, "--config", file(t, wholeConfigMap(config))}, []string{`.yaml" is the whole ConfigMap: give a file with what its key config.yaml holds`}},
		{"a bad value in the ConfigMap", []string{"inject", "-f", manifest, "--configmap", file(t, strings.Replace(config, "100.64.0.0/12", "100.64.0.1/12", 1))}, []string{"--configmap", "shoot.podCIDRs", "100.64.0.1/12"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := outcome(t, labelled, tt.args...)
			if code != 2 {
				t.Errorf("bad input must end with exit code 2, got %d", code)
			}
			if stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "webhook: ") {
				t.Errorf("bad input must be one sentence on stderr; stdout %q, stderr %q", stdout, stderr)
			}
			for _, part := range tt.want {
				if !strings.Contains(stderr, part) {
					t.Errorf("the sentence does not name %q: %s", part, stderr)
				}
			}
		})
	}
}

func TestARefusedDocumentLeavesNoOutput(t *testing.T) {
	stream := labelled + "---\n" + hostNetwork + "---\n" + other
	code, stdout, stderr := outcome(t, stream, "inject", "-f", "-", "--config", file(t, config))
	if code != 1 || stdout != "" {
		t.Errorf("want exit code 1 and nothing on stdout, got %d and\n%s", code, stdout)
	}
	lines := strings.Split(stderr, "\n")
	for i, want := range []string{"document 1: Pod app: injected: ", "document 2: Pod app: refused: ", "document 3: Other: skipped: ", "webhook: one document was refused"} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d should begin with %q:\n%s", i+1, want, stderr)
		}
	}
}

func TestInjectAndUninject(t *testing.T) {
	stream := other + "---\n" + labelled
	configuration := file(t, config)
	code, injected, stderr := outcome(t, stream, "inject", "-f", "-", "--config", configuration)
	if code != 0 || !strings.HasPrefix(injected, other+"---\n") || !strings.Contains(stderr, "document 2: Pod app: injected: ") {
		t.Fatalf("got exit code %d, stdout\n%s\nstderr\n%s", code, injected, stderr)
	}
	for _, want := range []string{"image: shoot-proxy/proxy-client:v1.2.3\n", "image: shoot-proxy/init-redirect:v1.2.3\n", "restartPolicy: Always\n", "--shoot-pod-cidr=100.64.0.0/12\n"} {
		if !strings.Contains(injected, want) {
			t.Errorf("the injected pod has no %q:\n%s", want, injected)
		}
	}
	code, again, _ := outcome(t, "", "inject", "--filename", file(t, injected), "--config", configuration)
	if code != 0 || again != injected {
		t.Errorf("injecting twice ends with exit code %d and\n%s", code, again)
	}
	code, undone, stderr := outcome(t, injected, "uninject", "-f", "-")
	if code != 0 || undone != stream || !strings.Contains(stderr, "document 2: Pod app: uninjected: ") {
		t.Errorf("uninject ends with exit code %d, stdout\n%s\nstderr\n%s", code, undone, stderr)
	}
}

func TestFlagsDecide(t *testing.T) {
	code, stdout, stderr := outcome(t, labelled, "explain", "-f", "-", "--configmap", file(t, config), "--native-sidecar=true",
		"--proxy-client-image=registry.example/a", "--init-redirect-image=registry.example/b")
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "document 1: Pod app: inject: added init-redirect, and proxy-client as native sidecar\n") {
		t.Errorf("got exit code %d, stdout\n%s\nstderr\n%s", code, stdout, stderr)
	}
	for _, want := range []string{"--configmap", "--native-sidecar", "100.64.0.0/12"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the explanation does not tell of %s:\n%s", want, stdout)
		}
	}
}

// wholeConfigMap is a ConfigMap as docs/webhook.md shows it.
func wholeConfigMap(config string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shoot-proxy, namespace: monitoring}\ndata:\n  config.yaml: |\n    " +
		strings.TrimSpace(strings.ReplaceAll(config, "\n", "\n    ")) + "\n"
}

// TestWholeConfigMap: --configmap accepts the object as it is applied, or only the
// value of its key.
func TestWholeConfigMap(t *testing.T) {
	code, whole, stderr := outcome(t, labelled, "inject", "-f", "-", "--configmap", file(t, wholeConfigMap(config)))
	if code != 0 {
		t.Fatalf("exit code %d, stderr %s", code, stderr)
	}
	if _, alone, _ := outcome(t, labelled, "inject", "-f", "-", "--configmap", file(t, config)); whole != alone || whole == "" {
		t.Errorf("the whole ConfigMap makes\n%s\nand its key\n%s", whole, alone)
	}
	_, explained, _ := outcome(t, labelled, "explain", "-f", "-", "--configmap", file(t, wholeConfigMap(config)))
	if !strings.Contains(explained, `.yaml" (key config.yaml)`) {
		t.Errorf("it does not tell where the values are from:\n%s", explained)
	}
}

func TestExplainTellsOfARefusal(t *testing.T) {
	code, stdout, stderr := outcome(t, labelled, "explain", "-f", "-") // no configuration at all
	if code != 1 || !strings.Contains(stdout, "document 1: Pod app: refuse: nothing says where the shoot is") || stderr != "webhook: one document was refused, see above: nothing is to be applied (and no --config was given)\n" {
		t.Errorf("got exit code %d, stdout\n%s\nstderr\n%s", code, stdout, stderr)
	}
}

// TestTheLabelWhereNoPodHasIt: such a label is reported. With --strict it is an error.
func TestTheLabelWhereNoPodHasIt(t *testing.T) {
	const prometheus = "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {name: a}\nspec: {podMetadata: {labels: {shoot-proxy.io/inject: \"true\"}}}\n"
	const says = `spec.podMetadata.labels has shoot-proxy.io/inject "true": Prometheus Operator copies it to the pods`
	code, stdout, stderr := outcome(t, prometheus, "inject", "-f", "-")
	if code != 0 || stdout != prometheus || !strings.Contains(stderr, "document 1: Prometheus a: warning: "+says) {
		t.Errorf("inject: exit code %d, stdout %q, stderr %s", code, stdout, stderr)
	}
	code, stdout, _ = outcome(t, prometheus, "explain", "-f", "-")
	if code != 0 || !strings.Contains(stdout, "  warning: "+says) {
		t.Errorf("explain: exit code %d, stdout %s", code, stdout)
	}
	code, stdout, stderr = outcome(t, prometheus, "inject", "-f", "-", "--strict")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "document 1: Prometheus a: refused: "+says) {
		t.Errorf("inject --strict: exit code %d, stdout %q, stderr %s", code, stdout, stderr)
	}
	if code, _, _ = outcome(t, prometheus, "explain", "-f", "-", "--strict"); code != 1 {
		t.Errorf("explain --strict: exit code %d", code)
	}
}

// TestAPodWithoutContainers: an incomplete manifest is reported as such.
func TestAPodWithoutContainers(t *testing.T) {
	const labels = "metadata: {labels: {shoot-proxy.io/inject: \"true\"}}"
	for stream, spec := range map[string]string{
		"kind: Pod\napiVersion: v1\n" + labels + "\n":                                                       "spec",
		"kind: Deployment\napiVersion: apps/v1\nspec: {template: {" + labels + "}}\n":                       "spec.template.spec",
		"kind: Deployment\napiVersion: apps/v1\nspec: {template: {" + labels + ", spec: }}\n":               "spec.template.spec",
		"kind: Deployment\napiVersion: apps/v1\nspec: {template: {" + labels + ", spec: {containers: }}}\n": "spec.template.spec.containers",
	} {
		code, stdout, stderr := outcome(t, stream, "inject", "-f", "-", "--config", file(t, config))
		if code != 1 || stdout != "" || !strings.Contains(stderr, "refused: it has no "+spec+": give the whole manifest") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %s", stream, code, stdout, stderr)
		}
	}
}

func TestTooMuchInputIsRefused(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(environment{args: []string{"inject", "-f", "-"}, stdin: endless{}, stdout: &stdout, stderr: &stderr})
	if code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "64 MiB") {
		t.Errorf("got exit code %d, %d bytes of output, stderr %s", code, stdout.Len(), &stderr)
	}
}

// endless is a file without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestOutputThatFailsIsExitCode1(t *testing.T) {
	var stderr bytes.Buffer
	code := run(environment{args: []string{"inject", "-f", "-"}, stdin: strings.NewReader(other), stdout: full{}, stderr: &stderr})
	if code != 1 || !strings.Contains(stderr.String(), "write the manifest: no space") {
		t.Errorf("got exit code %d, stderr %s", code, &stderr)
	}
}

// full is a full disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

var (
	_ io.Reader = endless{}
	_ io.Writer = full{}
)
