// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// kubeAPIServer is the name of the shoot's kube-apiserver: of its Deployment in the seed
// and of its container.
const kubeAPIServer = "kube-apiserver"

// controlPlanePod returns the pod of the shoot's control plane that runs a container.
func controlPlanePod(t testing.TB, rig *clustertest.Rig, container string) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	clustertest.Eventually(t, "a pod with container "+container, func(ctx context.Context) error {
		pods, err := rig.Seed.Client.CoreV1().Pods(shoot.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range pods.Items {
			if pod := &pods.Items[i]; clustertest.Container(pod, container) != nil && clustertest.Ready(pod) == nil {
				found = pod
				return nil
			}
		}
		return errors.New("there is none that is ready")
	})
	return found
}

// killKubeAPIServer kills the shoot's kube-apiserver. There is none until the test calls
// [startKubeAPIServer], at the latest at its end. The test must not run in parallel with
// others. It returns the times of the kill, and when the pod was gone.
func killKubeAPIServer(t testing.TB, rig *clustertest.Rig) (killed, gone time.Time) {
	t.Helper()
	pod := controlPlanePod(t, rig, kubeAPIServer)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.Limit)
		defer cancel()
		if _, err := runKubeAPIServer(ctx, rig); err != nil {
			t.Error(err)
		}
	})
	killed = time.Now()
	rig.Seed.KillContainer(t, pod, kubeAPIServer)
	// The kubelet starts the container again after a second, and ends it with the pod.
	if err := scaleKubeAPIServer(clustertest.Context(t), rig, 0); err != nil {
		t.Fatal(err)
	}
	rig.Seed.AwaitGone(t, pod)
	gone = time.Now()
	if err := answers(clustertest.Context(t), rig); err == nil {
		t.Fatal("the shoot's kube-apiserver answers, and its only pod was killed")
	}
	return killed, gone
}

// startKubeAPIServer returns the time at which the shoot's kube-apiserver was ready again.
func startKubeAPIServer(t testing.TB, rig *clustertest.Rig) time.Time {
	t.Helper()
	ready, err := runKubeAPIServer(clustertest.Context(t), rig)
	if err != nil {
		t.Fatal(err)
	}
	return ready
}

// runKubeAPIServer returns once the shoot's kube-apiserver answers, and its node is ready
// in its eyes.
func runKubeAPIServer(ctx context.Context, rig *clustertest.Rig) (ready time.Time, _ error) {
	if err := scaleKubeAPIServer(ctx, rig, 1); err != nil {
		return ready, err
	}
	err := lab.Poll(ctx, "the shoot's kube-apiserver to answer", func(ctx context.Context) error {
		return answers(ctx, rig)
	})
	if err != nil {
		return ready, err
	}
	ready = time.Now()
	return ready, lab.Poll(ctx, "the shoot's node to be ready", func(ctx context.Context) error {
		node, err := rig.Shoot.Client.CoreV1().Nodes().Get(ctx, rig.Shoot.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
				return fmt.Errorf("it is not: %s", c.Message)
			}
		}
		return nil
	})
}

// restartShootsPrograms restarts the programs that have lost kube-apiserver. Each tries to
// find it again after longer and longer pauses, of up to half a minute. Without the restart
// the following tests would wait for them.
func restartShootsPrograms(t testing.TB, rig *clustertest.Rig) {
	t.Helper()
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		pod := controlPlanePod(t, rig, name)
		rig.Seed.KillContainer(t, pod, name)
		rig.Seed.AwaitPod(t, pod.Namespace, pod.Name, clustertest.Restarted(name, clustertest.Container(pod, name).RestartCount+1))
	}
	for _, program := range []string{"kubelet", "kube-proxy"} {
		if err := rig.Shoot.Node.Kill(clustertest.Context(t), program); err != nil {
			t.Fatal(err)
		}
	}
	rig.Shoot.AwaitRuntime(t)
}

func scaleKubeAPIServer(ctx context.Context, rig *clustertest.Rig, replicas int32) error {
	deployments := rig.Seed.Client.AppsV1().Deployments(shoot.Namespace)
	scale, err := deployments.GetScale(ctx, kubeAPIServer, metav1.GetOptions{})
	if err != nil {
		return err
	}
	scale.ResourceVersion, scale.Spec.Replicas = "", replicas
	_, err = deployments.UpdateScale(ctx, kubeAPIServer, scale, metav1.UpdateOptions{})
	return err
}

// answers returns nil if the shoot's kube-apiserver says within 5 s that it is ready.
func answers(ctx context.Context, rig *clustertest.Rig) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := rig.Shoot.Client.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err
}
