// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// AwaitEnd watches a pod from the given state until it is deleted. It returns the pod's
// last state, with the exit codes of its containers.
func (c *Cluster) AwaitEnd(t testing.TB, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	name := fields.OneTermEqualSelector(metav1.ObjectNameField, pod.Name)
	pods := cache.NewListWatchFromClient(c.Client.CoreV1().RESTClient(), "pods", pod.Namespace, name)
	last, err := watchtools.Until(Context(t), pod.ResourceVersion, pods, func(event watch.Event) (bool, error) {
		object, ok := event.Object.(*corev1.Pod)
		return ok && event.Type == watch.Deleted && object.UID == pod.UID, nil
	})
	if err != nil {
		t.Fatalf("wait for the end of pod %s: %v", pod.Name, err)
	}
	return last.Object.(*corev1.Pod)
}

// KeepLog opens the log of a container that runs, so that a test can read it after its
// pod is gone. The returned function reads everything that has been written by then. Each
// line begins with the time at which containerd has read it.
//
// Following the log through kube-apiserver would need an inotify instance of the
// kubelet's. The whole machine has few of them (fs.inotify.max_user_instances, 128 by
// default).
func (c *Cluster) KeepLog(t testing.TB, pod *corev1.Pod, container string) (read func() string) {
	t.Helper()
	status := Container(pod, container)
	if status == nil {
		t.Fatalf("pod %s has no container %s", pod.Name, container)
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/root/var/log/pods/%s_%s_%s/%s/%d.log", c.Node.PID, pod.Namespace, pod.Name, pod.UID, container, status.RestartCount))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() }) // it was only read
	return func() string {
		t.Helper()
		text, err := io.ReadAll(io.NewSectionReader(file, 0, math.MaxInt64))
		if err != nil {
			t.Fatal(err)
		}
		// A line is "TIME stdout F " and the text; F means that the line is whole.
		return logPrefix.ReplaceAllString(string(text), "$1 ")
	}
}

var logPrefix = regexp.MustCompile(`(?m)^(\S+) (?:stdout|stderr) [FP] `)
