// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shoot-proxy/proxy-client/webhook/inspect"
	"github.com/shoot-proxy/proxy-client/webhook/shoot"
)

// testShoot: the nodes, pods and Services of a real cluster are compared with ranges. The
// same cluster is here the seed, so what other parts of the test have made is in it too.
func (in *installed) testShoot(t *testing.T) {
	in.node(t, "shoot-node", "v1.36.0")
	status := `{"status": {"addresses": [{"type": "InternalIP", "address": "10.250.0.4"}, {"type": "Hostname", "address": "shoot-node"}]}}`
	if _, err := in.client.CoreV1().Nodes().Patch(t.Context(), "shoot-node", types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if _, err := in.client.CoreV1().Nodes().Patch(t.Context(), "shoot-node", types.StrategicMergePatchType, []byte(`{"spec": {"podCIDR": "100.64.3.0/24", "podCIDRs": ["100.64.3.0/24"]}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	namespace := in.namespace(t, "shoot", nil)
	for name, change := range map[string]func(*corev1.Pod){
		"app":                  func(*corev1.Pod) {},
		"konnectivity-agent-1": func(pod *corev1.Pod) { pod.Spec.HostNetwork = true },
	} {
		pod := unlabelled()
		pod.GenerateName, pod.Name, pod.Spec.NodeName = "", name, "shoot-node"
		change(pod)
		made, err := in.create(t, namespace, pod)
		if err != nil {
			t.Fatal(err)
		}
		ip := "100.64.3.7"
		if pod.Spec.HostNetwork {
			ip = "10.250.0.4"
		}
		in.setStatus(t, made, fmt.Sprintf(`{"phase": "Running", "podIP": %q, "podIPs": [{"ip": %[1]q}], "conditions": [{"type": "Ready", "status": "True"}]}`, ip))
	}
	fits := inspect.Shoot{NodeCIDRs: []string{"10.250.0.0/16"}, PodCIDRs: []string{"100.64.0.0/12"}, ServiceCIDRs: []string{"10.0.0.0/24"}, Objects: []string{"Pod a/b"}}
	slip := inspect.Shoot{NodeCIDRs: []string{"10.205.0.0/16"}, PodCIDRs: []string{"100.64.0.0/24"}, ServiceCIDRs: []string{"10.0.0.0/24"}, Objects: []string{"Pod a/c"}}
	other := inspect.Shoot{NodeCIDRs: []string{"10.99.0.0/16"}, Objects: []string{"Pod a/d"}}
	want := map[string]inspect.Status{
		"shoot-agents":           inspect.OK,
		"shoot-nodes of Pod a/b": inspect.OK, "shoot-pods of Pod a/b": inspect.OK, "shoot-services of Pod a/b": inspect.OK, "shoot-pod-ranges of Pod a/b": inspect.OK,
		"shoot-nodes of Pod a/c": inspect.Failure, "shoot-pods of Pod a/c": inspect.Failure, "shoot-services of Pod a/c": inspect.OK, "shoot-pod-ranges of Pod a/c": inspect.Warning,
		"shoot-ranges of Pod a/c": inspect.Warning,
		"shoot-ranges of Pod a/d": inspect.OK, // another shoot's
	}
	for _, f := range shoot.Check(t.Context(), in.Admin(), []inspect.Shoot{fits, slip, other}) {
		name := f.Check
		if name != "shoot-agents" {
			name += " of " + strings.Join(f.Objects, ", ")
		}
		if status, known := want[name]; !known || f.Status != status {
			t.Errorf("%s: %s, want %q: %s", name, f.Status, status, f.Message)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("nothing is said of %s", name)
	}
	for _, f := range shoot.Check(t.Context(), in.Config(in.token), []inspect.Shoot{fits}) {
		if f.Status != inspect.Skipped && f.Check == "shoot-access" {
			t.Errorf("without rights: %+v", f)
		}
	}
	in.testShootFlag(t)
}

// testShootFlag: --shoot-kubeconfig adds the findings to the report.
func (in *installed) testShootFlag(t *testing.T) {
	t.Helper()
	admin, err := in.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := in.runPlugin(t, admin, "check", "--output=json", "--shoot-kubeconfig="+admin)
	var report inspect.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code == 2 {
		t.Fatalf("exit code %d, %v, and %s:\n%.500s", code, err, stderr, stdout)
	}
	found := false
	for _, f := range report.Findings {
		found = found || f.Check == "shoot-agents"
	}
	if !found {
		t.Errorf("the report has no finding about the shoot:\n%.2000s", stdout)
	}
	bad := filepath.Join(in.Dir, "bad.kubeconfig")
	if err := os.WriteFile(bad, []byte("kind: Pod"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code = in.runPlugin(t, admin, "check", "--shoot-kubeconfig="+bad)
	if code != 2 || stdout != "" || !strings.Contains(stderr, `--shoot-kubeconfig "`+bad+`" has kind "Pod"`) {
		t.Errorf("exit code %d, %q: %s", code, stdout, stderr)
	}
}
