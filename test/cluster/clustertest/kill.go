// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// KillContainer sends SIGKILL to the first process of a container that runs. It may be an
// init container.
func (c *Cluster) KillContainer(t testing.TB, pod *corev1.Pod, container string) {
	t.Helper()
	c.kill(t, containerID(t, pod, container))
}

// KillSandbox sends SIGKILL to the process that holds the pod's namespaces, as if that
// process had crashed. The kubelet makes the pod's containers again.
func (c *Cluster) KillSandbox(t testing.TB, pod *corev1.Pod) {
	t.Helper()
	out := c.ctr(t, "containers", "ls", "--quiet",
		fmt.Sprintf("labels.%q==sandbox,labels.%q==%s", "io.cri-containerd.kind", "io.kubernetes.pod.uid", pod.UID))
	for line := range strings.Lines(out) {
		if id := strings.TrimSpace(line); isContainerID(id) {
			c.kill(t, id)
			return
		}
	}
	t.Fatalf("containerd knows no sandbox of pod %s: %s", pod.Name, out)
}

// ExhaustMemory makes the kernel's OOM killer end a container. A process of the node's
// joins the container's memory cgroup, and takes twice what its limit allows. The kernel
// chooses a victim by oom_score_adj. If the pod's requests are below its limits, the
// kubelet has set a higher value for the container's own process.
func (c *Cluster) ExhaustMemory(t testing.TB, pod *corev1.Pod, container string) {
	t.Helper()
	const hog = `cgroup=$(sed -n 's/^[0-9]*:memory://p' /proc/$0/cgroup)
		echo $$ >/sys/fs/cgroup/memory$cgroup/cgroup.procs
		limit=$(cat /sys/fs/cgroup/memory$cgroup/memory.limit_in_bytes)
		exec dd if=/dev/zero of=/dev/null count=1 bs=$((2 * limit))`
	pid := c.processOf(t, containerID(t, pod, container))
	out, err := c.Node.Run(Context(t), "sh", "-euc", hog, strconv.Itoa(pid))
	if err == nil || strings.Contains(out, "cannot") {
		t.Fatalf("no memory was exhausted in container %s of pod %s: %v, %s", container, pod.Name, err, out)
	}
}

func containerID(t testing.TB, pod *corev1.Pod, container string) string {
	t.Helper()
	status := Container(pod, container)
	if status == nil || status.State.Running == nil {
		t.Fatalf("container %s of pod %s does not run: %+v", container, pod.Name, status)
	}
	return strings.TrimPrefix(status.ContainerID, "containerd://")
}

// isContainerID distinguishes an id from the other words of ctr's output.
func isContainerID(word string) bool {
	return len(word) == 64 && strings.Trim(word, "0123456789abcdef") == ""
}

func (c *Cluster) kill(t testing.TB, id string) {
	t.Helper()
	if _, err := c.Node.Run(Context(t), "kill", "-KILL", strconv.Itoa(c.processOf(t, id))); err != nil {
		t.Fatal(err)
	}
}

// processOf returns the id, in the node, of a container's first process.
func (c *Cluster) processOf(t testing.TB, id string) int {
	t.Helper()
	out := c.ctr(t, "tasks", "ls")
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != id {
			continue
		}
		pid, err := strconv.Atoi(fields[1])
		if err != nil || pid <= 1 {
			t.Fatalf("containerd says of container %s: %q", id, line)
		}
		return pid
	}
	t.Fatalf("containerd has no process of container %s: %s", id, out)
	return 0
}

func (c *Cluster) ctr(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.Node.Run(Context(t), append([]string{"ctr", "--namespace", "k8s.io"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// AwaitRuntime returns once containerd and the kubelet answer. It is for tests that have
// killed them.
func (c *Cluster) AwaitRuntime(t testing.TB) {
	t.Helper()
	ctx := Context(t)
	if err := c.Node.WaitFor(ctx, "containerd", "its socket to answer", func(ctx context.Context) error {
		_, err := c.Node.Run(ctx, "ctr", "--timeout", "2s", "version")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.Node.WaitFor(ctx, "kubelet", "the list of its pods", func(ctx context.Context) error {
		_, err := c.Client.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes", c.Name, "proxy", "pods").DoRaw(ctx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
