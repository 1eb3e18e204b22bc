// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDisabled: a chart that is switched off without a parent's condition renders
// nothing.
func TestDisabled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "values.yaml")
	write(t, file, "enabled: false\n")
	text, err := template(t, file, chart+"/ci/prometheus-values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if objects := parse(t, text); len(objects) > 0 {
		t.Errorf("there are %d objects, the first one %s", len(objects), objects[0].name())
	}
}

// TestOpenShiftHasNoFixedUsers: on OpenShift a fixed uid or group anywhere prevents that
// a pod is made.
func TestOpenShiftHasNoFixedUsers(t *testing.T) {
	text, err := template(t, chart+"/ci/openshift-values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"} {
		if strings.Contains(text, field+":") {
			t.Errorf("%s is still there", field)
		}
	}
	if want := "runAsNonRoot: true"; !strings.Contains(text, want) {
		t.Errorf("%s is not there any more", want)
	}
}

// TestCommonLabels: the operator's labels are on every object, and never in a selector,
// which cannot change.
func TestCommonLabels(t *testing.T) {
	text, err := template(t, chart+"/ci/everything-values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const label = "example.com/team"
	objects := parse(t, text)
	for _, o := range objects {
		if o.at("metadata", "labels", label) != "network" {
			t.Errorf("%s does not have label %s", o.name(), label)
		}
	}
	deployment := find(t, objects, "Deployment")
	if deployment.at("spec", "template", "metadata", "labels", label) != "network" {
		t.Errorf("the webhook's pods do not have label %s", label)
	}
	for _, selector := range []any{
		deployment.at("spec", "selector", "matchLabels"), find(t, objects, "Service").at("spec", "selector"),
		find(t, objects, "PodDisruptionBudget").at("spec", "selector", "matchLabels"),
	} {
		if _, there := selector.(map[string]any)[label]; there {
			t.Errorf("label %s is in a selector", label)
		}
	}
}

// TestHostNetwork: in the network of a node each port exists only once. A rollout must
// therefore never need more webhooks than there are nodes.
func TestHostNetwork(t *testing.T) {
	text, err := template(t, chart+"/ci/host-network-values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects := parse(t, text)
	deployment := find(t, objects, "Deployment")
	for path, want := range map[string]any{
		"template.spec.hostNetwork": true, "template.spec.dnsPolicy": "ClusterFirstWithHostNet",
		"strategy.rollingUpdate.maxSurge": 0, "strategy.rollingUpdate.maxUnavailable": 1,
	} {
		if got := deployment.at(append([]string{"spec"}, strings.Split(path, ".")...)...); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	container := webhookContainer(t, objects)
	for _, want := range []string{"--listen-address=:10260", "--health-address=:10261"} {
		if !slices.Contains(list(container["args"]), want) {
			t.Errorf("the webhook is not given %s", want)
		}
	}
	var ports []any
	for _, port := range container["ports"].([]any) {
		ports = append(ports, port.(map[string]any)["containerPort"])
	}
	if diff := cmp.Diff([]any{10260, 10261}, ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if strings.Contains(text, "kind: NetworkPolicy") {
		t.Error("there is a NetworkPolicy, which means nothing to such pods")
	}
}

func webhookContainer(t *testing.T, objects []object) map[string]any {
	t.Helper()
	containers, _ := find(t, objects, "Deployment").at("spec", "template", "spec", "containers").([]any)
	if len(containers) != 1 {
		t.Fatalf("the webhook's pods have %d containers, not one", len(containers))
	}
	return containers[0].(map[string]any)
}

// parentChart makes a chart that has ours as its dependency, and returns its folder.
func parentChart(t *testing.T, values string) string {
	t.Helper()
	ours, err := filepath.Abs(chart)
	if err != nil {
		t.Fatal(err)
	}
	parent := filepath.Join(t.TempDir(), "parent")
	if err := os.MkdirAll(parent+"/templates", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, parent+"/Chart.yaml", `apiVersion: v2
name: parent
version: 1.0.0
dependencies:
  - {name: proxy-client, version: ">=0.0.0-0", repository: "file://`+ours+`", condition: proxy-client.enabled}
`)
	write(t, parent+"/values.yaml", values)
	if output, err := run(t, "dependency", "update", parent); err != nil {
		t.Fatalf("helm dependency update: %v\n%s", err, output)
	}
	return parent
}

// TestParentChart: a parent chart switches ours on and off. Its registry and Secrets also
// apply to ours.
func TestParentChart(t *testing.T) {
	parent := parentChart(t, `
global:
  imageRegistry: mirror.example
  imagePullSecrets: [mirror, {name: other}]
  postgresql: {auth: {}}
x-notes: nobody's
proxy-client:
  enabled: true
  x-anchors: {a: &a [100.64.0.0/12]}
  images: {registry: registry.example}
  config: {shoot: {podCIDRs: *a}}
  podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}
`)
	render := func(more ...string) ([]object, error) {
		text, err := run(t, append([]string{"template", "seed", parent, "--namespace", namespace, "--kube-version", kubernetes}, more...)...)
		if err != nil {
			return nil, err
		}
		return parse(t, text), nil
	}
	objects, err := render()
	if err != nil {
		t.Fatal(err)
	}
	deployment := find(t, objects, "Deployment")
	if got, want := deployment.name(), "Deployment/seed-proxy-client-webhook"; got != want {
		t.Errorf("it is called %s, want %s", got, want)
	}
	container := webhookContainer(t, objects)
	if got, _ := container["image"].(string); !strings.HasPrefix(got, "mirror.example/shoot-proxy/webhook:") {
		t.Errorf("the webhook's image is %s", got)
	}
	for _, image := range []string{"proxy-client", "init-redirect"} {
		if config := configOf(t, objects); !strings.Contains(config, ": mirror.example/shoot-proxy/"+image+":") {
			t.Errorf("%s is of another registry:\n%s", image, config)
		}
	}
	pod, _ := deployment.at("spec", "template", "spec").(map[string]any)
	want := []any{map[string]any{"name": "mirror"}, map[string]any{"name": "other"}}
	if diff := cmp.Diff(want, pod["imagePullSecrets"]); diff != "" {
		t.Errorf("Secrets for the image (-want +got):\n%s", diff)
	}
	context := map[string]any{"runAsNonRoot": true, "seccompProfile": map[string]any{"type": "RuntimeDefault"}}
	if diff := cmp.Diff(context, pod["securityContext"]); diff != "" {
		t.Errorf("security context (-want +got):\n%s", diff)
	}
	if objects, err := render("--set", "proxy-client.enabled=false"); err != nil || len(objects) > 0 {
		t.Errorf("switched off it is %d objects (%v)", len(objects), err)
	}
	if _, err := render("--set", "proxy-client.config.shoot.podCIDRs={100.64.0.1/12}"); err == nil || !strings.Contains(err.Error(), `"100.64.0.1/12" has host bits set`) {
		t.Errorf("a bad value of the parent's is not refused: %v", err)
	}
}

// TestExtraArgsMayNotRepeatTheCharts: the chart refuses an extra argument that it sets
// itself, because the flag would have two values.
func TestExtraArgsMayNotRepeatTheCharts(t *testing.T) {
	r := newRenderer(t)
	rendered, err := r.render("certificates: {mode: managed}")
	if err != nil {
		t.Fatal(err)
	}
	containers, _ := parse(t, rendered["proxy-client/templates/deployment.yaml"])[0].at("spec", "template", "spec", "containers").([]any)
	container, _ := containers[0].(map[string]any)
	flags := 0
	for _, arg := range list(container["args"]) {
		name, isFlag := strings.CutPrefix(strings.Split(arg, "=")[0], "--")
		if !isFlag {
			continue // the command
		}
		flags++
		for _, mode := range []string{"managed", "cert-manager"} {
			_, err := r.checksOnly().render("certificates: {mode: " + mode + "}\nextraArgs: [--" + name + "=x]")
			if err == nil || !strings.Contains(err.Error(), "extraArgs") {
				t.Errorf("with certificates.mode %s, extraArgs may repeat --%s: %v", mode, name, err)
			}
		}
	}
	if flags < 10 {
		t.Errorf("the chart gives %d flags, and there are more", flags)
	}
}
