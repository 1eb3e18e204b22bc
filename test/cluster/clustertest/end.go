// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"io"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// AwaitEnd watches a pod from the state in which it is given until it is deleted, and
// returns its last state: with the exit codes of its containers.
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

// Follow reads the log of a container from its start until it ends, also if its pod is
// deleted then. Each line begins with the time at which it was written. The function that
// is returned waits for the end.
func (c *Cluster) Follow(t testing.TB, pod *corev1.Pod, container string) (wait func() string) {
	t.Helper()
	options := &corev1.PodLogOptions{Container: container, Follow: true, Timestamps: true}
	ctx, cancel := context.WithTimeout(t.Context(), Limit)
	stream, err := c.Client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).Stream(ctx)
	if err != nil {
		cancel()
		t.Fatalf("follow the log of container %s of pod %s: %v", container, pod.Name, err)
	}
	type result struct {
		text string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		defer cancel()
		defer stream.Close()
		text, err := io.ReadAll(stream)
		read <- result{string(text), err}
	}()
	return func() string {
		t.Helper()
		r := <-read
		if r.err != nil {
			t.Errorf("follow the log of container %s of pod %s: %v", container, pod.Name, r.err)
		}
		return r.text
	}
}
