// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// runPlugin runs kubectl-shoot_proxy with the rights of a kubeconfig file.
func (p programs) runPlugin(t testing.TB, kubeconfig string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.plugin, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errOut.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("kubectl-shoot_proxy %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errOut.String(), 0
}

// setStatus gives a pod a status, as a kubelet does.
func (s *system) setStatus(t testing.TB, pod *corev1.Pod, status string) {
	t.Helper()
	patch := `{"status": ` + status + `}`
	if _, err := s.client.CoreV1().Pods(pod.Namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatalf("the status %s: %v", status, err)
	}
}

// testPlugin: the plugin says why a pod's sidecar cannot be asked, and what to do. There is
// no kubelet, so the test writes the pods' status.
func (in *installed) testPlugin(t *testing.T) {
	admin, err := in.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := in.Kubeconfig("plugin-without-rights", in.token)
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := in.Kubeconfig("plugin-unknown", "of-nobody")
	if err != nil {
		t.Fatal(err)
	}
	namespace := in.namespace(t, "plugin", nil)
	make := func(name string, change func(*corev1.Pod)) {
		t.Helper()
		pod := labelled(nil, func(pod *corev1.Pod) { pod.GenerateName, pod.Name, pod.Spec.NodeName = "", name, "new" }, change)
		if _, err := in.create(t, namespace, pod); err != nil {
			t.Fatal(err)
		}
	}
	states := map[string]string{
		"waits":        `{"initContainerStatuses": []}`,
		"unscheduled":  `{"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}]}`,
		"ended":        `{"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}`,
		"redirect":     `{"initContainerStatuses": [{"name": "init-redirect", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, "lastState": {"terminated": {"exitCode": 3, "message": "{\"exitCode\":3,\"kind\":\"not_allowed\",\"error\":\"the container needs capability NET_ADMIN\"}\n"}}}]}`,
		"crashes":      `{"initContainerStatuses": [{"name": "init-redirect", "state": {"terminated": {"exitCode": 0}}}, {"name": "proxy-client", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}]}`,
		"killed":       `{"initContainerStatuses": [{"name": "init-redirect", "state": {"terminated": {"exitCode": 0}}}, {"name": "proxy-client", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}`,
		"no-image":     `{"initContainerStatuses": [{"name": "init-redirect", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"a\": not found"}}}]}`,
		"no-configmap": `{"initContainerStatuses": [{"name": "init-redirect", "state": {"terminated": {"exitCode": 0}}}, {"name": "proxy-client", "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"ca-proxy\" not found"}}}]}`,
		"runs":         `{"phase": "Running", "initContainerStatuses": [{"name": "init-redirect", "state": {"terminated": {"exitCode": 0}}}, {"name": "proxy-client", "state": {"running": {}}}]}`,
	}
	for name, status := range states {
		make(name, func(pod *corev1.Pod) {
			if name == "unscheduled" {
				pod.Spec.NodeName = ""
			}
		})
		in.setStatus(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, status)
	}
	make("unlabelled", func(pod *corev1.Pod) { pod.Labels = nil })
	make("not-wanted", func(pod *corev1.Pod) { pod.Labels[webhook.Label] = "false" })
	// A label that comes later injects nothing.
	make("late", func(pod *corev1.Pod) { pod.Labels = nil })
	label := `{"metadata": {"labels": {"` + webhook.Label + `": "true"}}}`
	if _, err := in.client.CoreV1().Pods(namespace).Patch(t.Context(), "late", types.MergePatchType, []byte(label), metav1.PatchOptions{FieldManager: "kubectl-label"}); err != nil {
		t.Fatal(err)
	}
	in.deployment(t, namespace, "none", 0)

	// The rules of these pods can be shown, although no sidecar runs.
	const dumped = "|nothing known|init-redirect fails|bad flags|out of memory|no image|a Secret that is not there|a node without a kubelet|"
	for _, tt := range []struct {
		name, kubeconfig string
		args             []string
		want             []string
	}{
		{"a misspelt pod", admin, []string{"crashs"}, []string{`there is no pod "crashs" in namespace "` + namespace + `": did you mean crashes?`}},
		{"the beginning of a name", admin, []string{"no"}, []string{`name one such as no-`, "deployment/no"}},
		{"another name", admin, []string{"something-else"}, []string{"pods with the sidecar there are crashes, ended, killed, no-configmap, no-image and 4 more"}},
		{"a workload that is not there", admin, []string{"deployment/app"}, []string{"there is no deployment/app in namespace", "get deployments"}},
		{"a workload without pods", admin, []string{"deploy/none"}, []string{"deployment/none in namespace", "has no pod", "describe deployment none"}},
		{"an unknown kind", admin, []string{"job/app"}, []string{`"job" is no kind of workload that is known here: write POD, or deployment/NAME`}},
		{"no rights", nobody, []string{"runs"}, []string{`you may not read pod "runs" in namespace`, "have an administrator give you that right"}},
		{"no login", unknown, []string{"runs"}, []string{"does not accept your login, so it did not read pod \"runs\"", "log in again, or use another --context"}},
		{"no label", admin, []string{"unlabelled"}, []string{"has no sidecar, and no label shoot-proxy.io/inject that asks for it"}},
		{"the label false", admin, []string{"not-wanted"}, []string{`has no sidecar, because its label shoot-proxy.io/inject is "false"`}},
		{"a label that came later", admin, []string{"late"}, []string{"has no sidecar. It has the label and was not injected: ", " Next: create it anew"}},
		{"nothing known", admin, []string{"waits"}, []string{"the sidecar of pod \"waits\"", "has not started yet: it waits for its volumes, its images or earlier containers"}},
		{"no node", admin, []string{"unscheduled"}, []string{"has no node yet, so its sidecar does not run: 0/1 nodes are available: 1 Insufficient cpu."}},
		{"an ended pod", admin, []string{"ended"}, []string{"has ended (Evicted The node was low on resource: memory.): its sidecar runs no more"}},
		{"init-redirect fails", admin, []string{"redirect"}, []string{"has not started, because init-redirect comes first: init-redirect has ended 4 times, last with exit code 3: the container needs capability NET_ADMIN"}},
		{"bad flags", admin, []string{"crashes"}, []string{"does not run: proxy-client has ended 2 times, last with exit code 2: its flags are not valid; its log says which"}},
		{"out of memory", admin, []string{"killed"}, []string{"exit code 137 (OOMKilled): it needed more memory than its limit, so raise the limit, or lower --total-buffer"}},
		{"no image", admin, []string{"no-image"}, []string{"init-redirect waits (ImagePullBackOff): Back-off pulling image", "check the image's name, and that the node can pull it"}},
		{"a Secret that is not there", admin, []string{"no-configmap"}, []string{`proxy-client waits (CreateContainerConfigError): secret "ca-proxy" not found; make what is missing, and the kubelet tries again`}},
		{"a node without a kubelet", admin, []string{"runs"}, []string{`the API server cannot reach the kubelet of node "new", on which the pod runs`}},
	} {
		commands := []string{"check", "page", "dump"}
		if strings.Contains(dumped, "|"+tt.name+"|") {
			commands = commands[:2] // there is no kubelet that would run the container of dump
		}
		for _, command := range commands {
			stdout, stderr, code := in.runPlugin(t, tt.kubeconfig, append([]string{command, "--namespace=" + namespace}, tt.args...)...)
			if code == 0 || stdout != "" || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%s, %s: exit code %d, output %q, and not one line: %s", tt.name, command, code, stdout, stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%s, %s: no %q in: %s", tt.name, command, want, stderr)
				}
			}
		}
	}
	in.testPluginOnAllPods(t, admin, namespace, len(states))

	stdout, stderr, code := in.runPlugin(t, admin, "check")
	if want := "reaches the webhook: a dry run of a labelled pod"; code == 2 || !strings.Contains(stdout, want) {
		t.Errorf("check of the installation: exit code %d, want %q in\n%s%s", code, want, stdout, stderr)
	}
}

// testPluginOnAllPods: the answers of all pods are one JSON document.
func (in *installed) testPluginOnAllPods(t *testing.T, admin, namespace string, pods int) {
	t.Helper()
	stdout, stderr, code := in.runPlugin(t, admin, "check", "--all-pods", "--output=json", "--namespace", namespace)
	var answers []struct{ Pod, Error string }
	if err := json.Unmarshal([]byte(stdout), &answers); err != nil || code != 1 || stderr != "" {
		t.Fatalf("exit code %d, %v, and %q:\n%s", code, err, stderr, stdout)
	}
	if len(answers) != pods {
		t.Errorf("%d pods answer, and there are %d with the sidecar", len(answers), pods)
	}
	for _, a := range answers {
		if a.Error == "" {
			t.Errorf("pod %s answers, and it has no kubelet", a.Pod)
		}
	}
}

// deployment makes a Deployment with labelled pods.
func (s *system) deployment(t testing.TB, namespace, name string, replicas int32) {
	t.Helper()
	labels := map[string]string{"app": name}
	pod := unlabelled()
	pod.Spec.InitContainers = nil
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name, webhook.Label: "true"}}, Spec: pod.Spec},
	}}
	if _, err := s.client.AppsV1().Deployments(namespace).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the ReplicaSet of "+name, func(ctx context.Context) error {
		sets, err := s.client.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
		if err == nil && len(sets.Items) == 0 {
			err = errors.New("there is none")
		}
		return err
	})
}
