// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
	"github.com/shoot-proxy/proxy-client/test/markdown"
)

// TestDebugContainersAsDocumented runs what docs/debugging.md says for a pod whose target stays
// down. The pods have different users and both backends. `verify` finds the rules whole,
// and `dump` has the connections that the pod makes. Once a rule is gone, `verify` says
// which. Without the file that docs/debugging.md writes before, the container has the user of a
// pod that is not root's. It then says what it lacks.
func TestDebugContainersAsDocumented(t *testing.T) {
	t.Parallel()
	rig, namespace := withWebhook(t)
	releaseFolder(t)
	address := targets(clustertest.Context(t), t, rig)["a pod"]
	// The kernel forgets connections that have ended, so new ones are made all the time.
	const once = `printf 'GET / HTTP/1.0\r\n\r\n' | timeout 5 nc "$0" "$1"`
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	inject := newInjector(t, rig)
	pods := map[string]func(*corev1.Pod) *corev1.Pod{
		"root":   func(pod *corev1.Pod) *corev1.Pod { return pod },
		"legacy": func(pod *corev1.Pod) *corev1.Pod { return inject.pod(t, pod, "legacy") },
		"non-root": func(pod *corev1.Pod) *corev1.Pod {
			pod.Spec.SecurityContext = restrictedPod("", false).Spec.SecurityContext
			return pod
		},
		"user-namespace": func(pod *corev1.Pod) *corev1.Pod {
			pod.Spec.HostUsers = new(false)
			return pod
		},
	}
	for name, change := range pods {
		pod := clientPod(name, true)
		pod.Spec.Containers[0].Command = []string{"sh", "-c", "while sleep 1; do " + once + "; done", host, port}
		pod = change(pod)
		create(t, rig.Seed, namespace, pod)
	}
	for name := range pods {
		t.Run(name, func(t *testing.T) {
			pod := rig.Seed.AwaitPod(t, namespace, name, clustertest.Ready)
			d := newDebugger(t, rig, pod)
			rule := "-d " + shoot.Pods.String() + " -p tcp -j PROXY_CLIENT_REDIRECT"
			const verified = "…\n…msg=\"redirect verified\"…\n…"
			d.run(t, "verify", asWritten, verified)
			d.run(t, "dump", asWritten, "…\n…PROXY_CLIENT_OUTPUT…"+rule+"\n…\n"+address+"…\n…")
			want := verified
			if name == "non-root" {
				want = "…\n…the container needs capability NET_ADMIN, and to run as user 0 so that it is effective\n…"
			}
			d.run(t, "verify", withoutFile, want)
			backend := "nft"
			if name == "legacy" {
				backend = "legacy"
			}
			deleteRule(t, rig.Seed, pod, backend, rule)
			d.run(t, "verify", asWritten, "…\n…("+backend+") table nat chain PROXY_CLIENT_OUTPUT: rule … is missing: "+rule+"…\n…")
		})
	}
}

// debugger runs the commands of docs/debugging.md in one pod.
type debugger struct {
	reader *reader
	pod    *corev1.Pod
	steps  []markdown.Step
}

// newDebugger writes the file as docs/debugging.md says.
func newDebugger(t *testing.T, rig *clustertest.Rig, pod *corev1.Pod) *debugger {
	t.Helper()
	folder := t.TempDir()
	kubeconfig := filepath.Join(folder, "kubeconfig")
	text, err := os.ReadFile(rig.Seed.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kubeconfig, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// The pod's namespace is the current one.
	if out, err := rig.Seed.Kubectl(t, "--kubeconfig", kubeconfig, "config", "set-context", "--current", "--namespace", pod.Namespace); err != nil {
		t.Fatal(out, err)
	}
	d := &debugger{reader: newReader(t, rig, folder, t.TempDir(), "KUBECONFIG="+kubeconfig), pod: pod}
	document, err := markdown.Read(filepath.Join(d.reader.root, "docs", "debugging.md"))
	if err != nil {
		t.Fatal(err)
	}
	if d.steps, err = document.Section("The rules of a running pod"); err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, step := range d.steps {
		if step.File != "" {
			files++
			d.do(t, step)
		}
	}
	if files != 1 {
		t.Fatalf("docs/debugging.md tells to write %d files, and one is expected", files)
	}
	return d
}

func asWritten(command string) string { return command }

// withoutFile removes from a command the file that docs/debugging.md has written before.
func withoutFile(command string) string {
	return strings.ReplaceAll(command, " --custom=debug.yaml", "")
}

// run does what docs/debugging.md says for a command of init-redirect.
func (d *debugger) run(t *testing.T, command string, change func(string) string, prints string) {
	t.Helper()
	found := false
	for _, step := range d.steps {
		if !strings.HasSuffix(step.Command, "init-redirect "+command) {
			continue
		}
		found = true
		step.Command = change(strings.Replace(step.Command, "POD", d.pod.Name, 1))
		step.Output = prints
		d.do(t, step)
	}
	if !found {
		t.Errorf("docs/debugging.md has no command for init-redirect %s", command)
	}
}

func (d *debugger) do(t *testing.T, step markdown.Step) {
	t.Helper()
	if err := d.reader.runner.Run(clustertest.Context(t), []markdown.Step{step}); err != nil {
		t.Fatal(err)
	}
}

// deleteRule deletes a rule of the pod's chain PROXY_CLIENT_OUTPUT.
func deleteRule(t *testing.T, c *clustertest.Cluster, pod *corev1.Pod, backend, rule string) {
	t.Helper()
	process := c.AwaitProcess(t, pod, proxyClient, proxyClient)
	network := fmt.Sprintf("--net=/proc/%d/ns/net", process.PID)
	args := append([]string{"nsenter", network, "iptables-" + backend, "--table", "nat", "--delete", "PROXY_CLIENT_OUTPUT"}, strings.Fields(rule)...)
	if _, err := c.Node.Run(clustertest.Context(t), args...); err != nil {
		t.Fatal(err)
	}
}
