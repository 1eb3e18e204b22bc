// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// Exec runs a program in a container and returns its standard output. The test fails if
// the program does.
func (c *Cluster) Exec(t testing.TB, pod *corev1.Pod, container string, args ...string) string {
	t.Helper()
	out, err := c.TryExec(Context(t), pod, container, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryExec runs a program in a container and returns its standard output. The error has its
// standard error.
func (c *Cluster) TryExec(ctx context.Context, pod *corev1.Pod, container string, args ...string) (string, error) {
	request := c.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: args, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(c.Config, "GET", request.URL().String())
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		err = fmt.Errorf("in pod %s, container %s: %s: %w: %s", pod.Name, container, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), err
}

// Logs returns what a container has written since its last start.
func (c *Cluster) Logs(t testing.TB, pod *corev1.Pod, container string) string {
	t.Helper()
	text, err := c.TryLogs(Context(t), pod, &corev1.PodLogOptions{Container: container})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TryLogs reads the log of a container.
func (c *Cluster) TryLogs(ctx context.Context, pod *corev1.Pod, options *corev1.PodLogOptions) (string, error) {
	text, err := c.Client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("read the log of container %s of pod %s: %w", options.Container, pod.Name, err)
	}
	return string(text), nil
}
