// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Names under which the chart is installed:
const (
	release          = "proxy-client"
	releaseNamespace = "shoot-proxy"
)

// programs are the paths of the binaries and folders that the tests use.
type programs struct{ webhook, plugin, helm, chart, exitChart, deploy string }

func findPrograms() (programs, error) {
	bin, testBin, err := lab.FindBinaries()
	if err != nil {
		return programs{}, err
	}
	p := programs{
		webhook:   filepath.Join(bin, "webhook"),
		plugin:    filepath.Join(bin, "kubectl-shoot_proxy"),
		helm:      filepath.Join(testBin, "tools-kube", "helm"),
		chart:     filepath.Join("..", "..", "..", "charts", "proxy-client"),
		exitChart: filepath.Join("..", "..", "..", "charts", "proxy-exit"),
		deploy:    filepath.Join("..", "..", "..", "deploy"),
	}
	for _, program := range []struct{ path, target string }{{p.webhook, "build"}, {p.plugin, "build"}, {p.helm, "helm"}} {
		if _, err := exec.LookPath(program.path); err != nil {
			return programs{}, fmt.Errorf("%w: `make %s` builds it", err, program.target)
		}
	}
	return p, nil
}

// manifests are the objects of a release.
type manifests []*unstructured.Unstructured

// render returns the chart as helm renders it, with values as --values reads them.
func (p programs) render(t testing.TB, valueFiles ...string) manifests {
	t.Helper()
	return p.renderOf(t, p.chart, release, releaseNamespace, valueFiles...)
}

// renderOf returns a chart as helm renders it for a release in a namespace.
func (p programs) renderOf(t testing.TB, chart, release, namespace string, valueFiles ...string) manifests {
	t.Helper()
	args := []string{"template", release, chart, "--namespace", namespace, "--skip-tests"}
	for _, file := range valueFiles {
		args = append(args, "--values", file)
	}
	cmd := exec.Command(p.helm, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return parse(t, "helm template", out)
}

// parse reads YAML documents, including those of a CustomResourceDefinition.
func parse(t testing.TB, source string, text []byte) manifests {
	t.Helper()
	var all manifests
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		object := map[string]any{}
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: document %d: %v", source, len(all)+1, err)
		}
		if len(object) > 0 { // otherwise it has only comments
			all = append(all, &unstructured.Unstructured{Object: object})
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s: there is no object in it", source)
	}
	return all
}

// of returns the only object of a kind.
func (m manifests) of(t testing.TB, kind string) *unstructured.Unstructured {
	t.Helper()
	var found manifests
	for _, object := range m {
		if object.GetKind() == kind {
			found = append(found, object)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the chart renders %d objects of kind %s, want one", len(found), kind)
	}
	return found[0]
}

// deployment returns the chart's Deployment, typed.
func (m manifests) deployment(t testing.TB) *appsv1.Deployment {
	t.Helper()
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m.of(t, "Deployment").Object, &d); err != nil {
		t.Fatalf("the chart's Deployment: %v", err)
	}
	if len(d.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("the chart's Deployment has %d containers, want the webhook alone", len(d.Spec.Template.Spec.Containers))
	}
	return &d
}

// config returns what the chart mounts as the webhook's --config.
func (m manifests) config(t testing.TB) []byte {
	t.Helper()
	for _, object := range m {
		text, found, err := unstructured.NestedString(object.Object, "data", "config.yaml")
		if err == nil && found && object.GetKind() == "ConfigMap" {
			return []byte(text)
		}
	}
	t.Fatal("the chart renders no ConfigMap with key config.yaml")
	return nil
}

// arguments returns those of the chart's webhook. Values of this machine replace some of
// them, each of which must be there.
func (m manifests) arguments(t testing.TB, replaced map[string]string) []string {
	t.Helper()
	args := slices.Clone(m.deployment(t).Spec.Template.Spec.Containers[0].Args)
	for flag, value := range replaced {
		i := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--"+flag+"=") })
		if i < 0 {
			t.Fatalf("the chart's webhook has no argument --%s=…: %q", flag, args)
		}
		args[i] = "--" + flag + "=" + value
	}
	return args
}

// argument returns the value of an argument.
func argument(t testing.TB, args []string, flag string) string {
	t.Helper()
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--"+flag+"="); ok {
			return value
		}
	}
	t.Fatalf("there is no argument --%s=…: %q", flag, args)
	return ""
}
