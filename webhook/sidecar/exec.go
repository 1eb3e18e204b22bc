// SPDX-License-Identifier: Apache-2.0

package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// Exec runs a program in a container, passes on what it writes, and returns its exit code.
// The error says why the program could not be run.
func (a *Access) Exec(ctx context.Context, pod *corev1.Pod, container string, command []string, stdout, stderr io.Writer) (code int, err error) {
	request := a.Core.RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	// Kubernetes before 1.31, and some proxies, know SPDY alone.
	spdy, err := remotecommand.NewSPDYExecutor(a.Config, "POST", request.URL())
	if err != nil {
		return 0, a.notRun(ctx, pod, container, command, err)
	}
	websocket, err := remotecommand.NewWebSocketExecutor(a.Config, "GET", request.URL().String())
	if err != nil {
		return 0, a.notRun(ctx, pod, container, command, err)
	}
	executor, err := remotecommand.NewFallbackExecutor(websocket, spdy, needsSPDY)
	if err != nil {
		return 0, a.notRun(ctx, pod, container, command, err)
	}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: stdout, Stderr: stderr})
	if exit, ok := errors.AsType[exec.CodeExitError](err); ok {
		return exit.Code, nil
	}
	if err != nil {
		return 0, a.notRun(ctx, pod, container, command, err)
	}
	return 0, nil
}

// Output is [Access.Exec] for a program with little to say. An exit code that is not 0 is
// an error with the program's own words.
func (a *Access) Output(ctx context.Context, pod *corev1.Pod, container string, command []string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	code, err := a.Exec(ctx, pod, container, command, &stdout, &stderr)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s in pod %q ended with exit code %d: %s", strings.Join(command, " "), pod.Name, code, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), err
}

// needsSPDY reports whether a connection failed because the API server, or a proxy before
// it, does not know WebSockets.
func needsSPDY(err error) bool {
	return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
}

// unreachableKubelet reports whether the API server says that it did not reach a kubelet.
func unreachableKubelet(said string) bool {
	return strings.Contains(said, "error dialing backend") || strings.Contains(said, "no preferred addresses found")
}

// notRun returns the error for a program that could not be run in a container.
func (a *Access) notRun(ctx context.Context, pod *corev1.Pod, container string, command []string, err error) error {
	where := fmt.Sprintf("container %s of pod %q in namespace %q", container, pod.Name, pod.Namespace)
	byHand := fmt.Sprintf("kubectl --namespace %s exec %s --container %s -- %s", pod.Namespace, pod.Name, container, strings.Join(command, " "))
	said := err.Error()
	switch {
	case apierrors.IsForbidden(err) || strings.Contains(said, "is forbidden: User "):
		return fmt.Errorf("you may not run a program in %s: have an administrator give you the right to create pods/exec there, or run '%s': %w", where, byHand, err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s is gone meanwhile: ask again for the pod that came after it: %w", where, err)
	case strings.Contains(said, "container not found"), strings.Contains(said, "container is not created or running"):
		if stopped := a.stopped(ctx, pod, container); stopped != nil {
			return stopped
		}
		return fmt.Errorf("%s does not run at the moment, so nothing can be asked in it: wait until it has started again: %w", where, err)
	case strings.Contains(said, "no such file or directory"), strings.Contains(said, "executable file not found"):
		return fmt.Errorf("%s has no program %s, so its image is not one of ours: name another pod, or check the image: %w", where, command[0], err)
	case unreachableKubelet(said):
		return fmt.Errorf("the API server cannot reach the kubelet of node %q, on which the pod runs: look at that node, or at the firewall or proxy-server before it: %w", pod.Spec.NodeName, err)
	default:
		return a.refused(err, "run a program in %s", where)
	}
}
