// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// readmesConfig is the configuration of README.md's pod.
const readmesConfig = `
apiVersion: config.shoot-proxy.io/v1alpha1
kind: InjectionConfig
images:
  proxyClient: registry.example/shoot-proxy/proxy-client:0.1.0
  initRedirect: registry.example/shoot-proxy/init-redirect:0.1.0
shoot:
  podCIDRs: [100.64.0.0/12]
  serviceCIDRs: [100.104.0.0/13]
  nodeCIDRs: [10.250.0.0/16]
proxyServer:
  addresses: ["vpn-proxy-server:8090"]
  tls: {caSecret: ca-proxy, clientSecret: proxy-client-tls}
`

// README.md says what the webhook adds to its pod. The webhook adds exactly that, field
// by field, and the status annotation.
func TestReadmesPodIsWhatTheWebhookMakes(t *testing.T) {
	_, rest, found := strings.Cut(string(read(t, "testdata/repository/README.md")), "```yaml\napiVersion: v1\nkind: Pod\n")
	if !found {
		t.Fatal("README.md shows no pod")
	}
	manifest, _, _ := strings.Cut(rest, "```\n")
	shown := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte("apiVersion: v1\nkind: Pod\n"+manifest), shown); err != nil {
		t.Fatal(err)
	}
	app := shown.DeepCopy()
	app.Labels = map[string]string{Label: "true"}
	ours := func(name string) bool { return strings.HasPrefix(name, "shoot-proxy-") }
	app.Spec.InitContainers = slices.DeleteFunc(app.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == initRedirect || c.Name == proxyClient })
	app.Spec.Volumes = slices.DeleteFunc(app.Spec.Volumes, func(v corev1.Volume) bool { return ours(v.Name) })
	defaults, err := ParseConfig("--config", []byte(readmesConfig))
	if err != nil {
		t.Fatal(err)
	}
	result := Mutate(Request{Pod: app, Defaults: defaults, Namespace: Namespace{Name: "monitoring"}, Version: "0.1.0", OldestNode: 36})
	if result.Pod == nil {
		t.Fatalf("README.md's app is not injected: %+v", result)
	}
	for what, pair := range map[string][2]any{
		"containers": {result.Pod.Spec.InitContainers, shown.Spec.InitContainers},
		"volumes":    {result.Pod.Spec.Volumes, shown.Spec.Volumes},
		"app":        {result.Pod.Spec.Containers, shown.Spec.Containers},
	} {
		made, readme := asYAML(t, pair[0]), asYAML(t, pair[1])
		if d := cmp.Diff(made, readme); d != "" {
			t.Errorf("README.md shows other %s than the webhook makes (-webhook +README.md):\n%s", what, d)
		}
	}
}

// docs/systems.md says which resources a pod needs, for quotas.
func TestCostsOfAPodAreDocumented(t *testing.T) {
	r, _ := goldenRequest(t, "plain")
	document := string(read(t, "testdata/repository/systems.md"))
	for _, c := range Mutate(r).Pod.Spec.InitContainers {
		_, row, found := strings.Cut(document, "\n| "+c.Name)
		row, _, _ = strings.Cut(row, "\n")
		want := fmt.Sprintf(" | %s CPU, %s memory | %s memory |", c.Resources.Requests.Cpu(), c.Resources.Requests.Memory(), c.Resources.Limits.Memory())
		if !found || !strings.HasSuffix(row, want) || c.Resources.Limits.Cpu().Sign() != 0 {
			t.Errorf("docs/systems.md says of %s %q, and it ends in %q", c.Name, row, want)
		}
	}
}

// asYAML returns a text that is the same for equal amounts.
func asYAML(t *testing.T, object any) string {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
