// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// TestKilledSidecarIsRestarted: the checks of strays below prove something only if a
// stray would be counted. A pod without the label is the control experiment.
func TestKilledSidecarIsRestarted(t *testing.T) {
	t.Parallel()
	n := newNeighbourhood(t)
	echo, strays := startEcho(t, n.Shoot), n.WatchStrays(t)
	bare := n.template(native, asksOn)
	bare.Labels = nil
	unlabelled := n.run(t, "unlabelled", bare)
	clustertest.Eventually(t, "a packet of the pod without the label in the seed's network", strays.Seen(t, unlabelled.Status.PodIP))

	for _, o := range []order{native, classic} {
		for _, how := range []struct {
			name, reason string
			kill         func(testing.TB, *corev1.Pod, string)
		}{
			{"killed", "Error", n.Seed.KillContainer},
			{"out-of-memory", "OOMKilled", n.Seed.ExhaustMemory},
		} {
			name := o.String() + "-" + how.name
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				pod := n.run(t, name, n.template(o, asksOn))
				n.askedFromItsStart(t, pod)
				open := n.connect(t, pod, echo)
				how.kill(t, pod, proxyClient)
				open.wantEnd(t)
				restarted := n.Seed.AwaitPod(t, n.namespace, name, clustertest.Restarted(proxyClient, 1))
				last := clustertest.Container(restarted, proxyClient).LastTerminationState.Terminated
				if last == nil || last.ExitCode != 137 || last.Reason != how.reason {
					t.Errorf("proxy-client ended with %+v, want exit code 137 and reason %s", last, how.reason)
				}
				n.reaches(t, pod)
				n.wantUndisturbed(t, pod, app)
				strays.WantNone(t, pod)
			})
		}
	}
}

// TestRecreatedSandboxIsRedirectedAgain: a new sandbox has a network namespace without
// any rules.
func TestRecreatedSandboxIsRedirectedAgain(t *testing.T) {
	t.Parallel()
	n := newNeighbourhood(t)
	strays := n.WatchStrays(t)
	for _, o := range []order{native, classic} {
		t.Run(o.String(), func(t *testing.T) {
			t.Parallel()
			before := n.run(t, o.String(), n.template(o, asksOn))
			n.askedFromItsStart(t, before)
			n.Seed.KillSandbox(t, before)
			after := n.Seed.AwaitPod(t, n.namespace, before.Name, func(pod *corev1.Pod) error {
				return errors.Join(clustertest.Ready(pod), anew(before, pod, initRedirect), anew(before, pod, proxyClient), anew(before, pod, app))
			})
			if ended := clustertest.Container(after, initRedirect).State.Terminated; ended == nil || ended.ExitCode != 0 {
				t.Errorf("init-redirect in the new sandbox has ended with %+v", ended)
			}
			n.askedFromItsStart(t, after)
			n.reaches(t, after)
			for _, pod := range []*corev1.Pod{before, after} {
				strays.WantNone(t, pod)
			}
		})
	}
}

// anew returns nil if a container has been replaced.
func anew(before, now *corev1.Pod, container string) error {
	was, is := clustertest.Container(before, container), clustertest.Container(now, container)
	if is == nil || is.ContainerID == "" || is.ContainerID == was.ContainerID {
		return fmt.Errorf("container %s is still the old one", container)
	}
	return nil
}

// TestNodeProgramsAreRestarted: containers outlive containerd and the kubelet. The test
// is not parallel, because every pod of the node notices that these do not run.
func TestNodeProgramsAreRestarted(t *testing.T) {
	n := newNeighbourhood(t)
	pod := n.run(t, "app", n.template(native, asksOn))
	open := n.connect(t, pod, startEcho(t, n.Shoot))
	for _, program := range []string{"containerd", "kubelet"} {
		if err := n.Seed.Node.Kill(clustertest.Context(t), program); err != nil {
			t.Fatal(err)
		}
		n.Seed.AwaitRuntime(t)
		open.wantOpen(t)
		n.reaches(t, pod)
		n.wantUndisturbed(t, pod, proxyClient, app)
	}
	if ended := clustertest.Container(pod, initRedirect); ended.RestartCount != 0 {
		t.Errorf("init-redirect has run again in a network namespace that was redirected: %+v", ended)
	}
	n.Seed.KillContainer(t, pod, proxyClient)
	n.Seed.AwaitPod(t, n.namespace, pod.Name, clustertest.Restarted(proxyClient, 1))
	n.reaches(t, pod)
	n.reaches(t, n.run(t, "made-afterwards", n.template(native, asksOn)))
}
