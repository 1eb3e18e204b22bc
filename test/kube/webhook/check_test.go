// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// check runs `webhook check` or `webhook dry-run` with the rights of a kubeconfig file.
func (p programs) check(t testing.TB, kubeconfig string, args ...string) (said string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.webhook, append(args, "--kubeconfig="+kubeconfig)...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return output.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("webhook %s: %v", strings.Join(args, " "), err)
	}
	return output.String(), 0
}

// testDryRunCommand: `webhook dry-run` reports what a cluster makes of a labelled pod, and leaves
// no pod behind.
func (in *installed) testDryRunCommand(t *testing.T) {
	admin, err := in.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := in.Kubeconfig("check-without-rights", in.token)
	if err != nil {
		t.Fatal(err)
	}
	namespace := in.namespace(t, "check", nil)
	restricted := in.namespace(t, "check-restricted", map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	refused := in.namespace(t, "check-refused", nil)
	bad := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: webhook.DefaultConfigMap}, Data: map[string]string{webhook.ConfigKey: "shoot"}}
	if _, err := in.client.CoreV1().ConfigMaps(refused).Create(t.Context(), bad, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, kubeconfig, want string
		args                   []string
		code                   int
	}{
		{"injected", admin, `namespace "` + namespace + `" is injected: {"version":`, []string{"--namespace=" + namespace}, 0},
		{"left out", admin, "makes a labelled pod in namespace \"kube-system\" without asking the webhook", []string{"--namespace=kube-system"}, 1},
		{"refused", admin, "the webhook refuses a labelled pod", []string{"--namespace=" + refused}, 1},
		{"refused, which is allowed", admin, "the webhook answers; it refuses a labelled pod", []string{"--namespace=" + refused, "--allow-refusal"}, 0},
		{"refused by Pod Security", admin, "is refused, but not by the webhook", []string{"--namespace=" + restricted}, 1},
		{"no namespace", admin, `there is no namespace "none"`, []string{"--namespace=none"}, 1},
		{"no rights", nobody, "may not make pods in namespace", []string{"--namespace=" + namespace}, 1},
	} {
		said, code := in.check(t, tt.kubeconfig, append([]string{"dry-run"}, tt.args...)...)
		if code != tt.code || !strings.Contains(said, tt.want) {
			t.Errorf("%s: exit code %d, want %d, and %q: %s", tt.name, code, tt.code, tt.want, said)
		}
	}
	for _, namespace := range []string{namespace, restricted, refused} {
		pods, err := in.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) > 0 {
			t.Errorf("there are %d pods in namespace %s (%v)", len(pods.Items), namespace, err)
		}
	}
}
