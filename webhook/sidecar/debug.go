// SPDX-License-Identifier: Apache-2.0

package sidecar

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// DebugPrefix begins the names of containers that Debug adds.
const DebugPrefix = "shoot-proxy-dump-"

// pollInterval is the time between two looks at a container that is to start or end.
const pollInterval = 500 * time.Millisecond

// Debug adds a container to a running pod that runs init-redirect with these arguments. It
// passes on what the program writes, and returns its exit code. Kubernetes keeps such an
// ephemeral container in the pod until the pod's end.
func (a *Access) Debug(ctx context.Context, pod *corev1.Pod, args []string, out io.Writer) (code int, err error) {
	container, err := debugContainer(pod, args)
	if err != nil {
		return 0, err
	}
	if err := a.addEphemeral(ctx, pod, container); err != nil {
		return 0, err
	}
	ended, err := a.awaitEnd(ctx, pod, container.Name)
	if err != nil {
		return 0, err
	}
	log, err := a.Core.Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: container.Name}).Stream(ctx)
	if err != nil {
		return 0, a.refused(err, "read the log of container %s of pod %q in namespace %q", container.Name, pod.Name, pod.Namespace)
	}
	defer log.Close()
	if _, err := io.Copy(out, log); err != nil {
		return 0, fmt.Errorf("the log of container %s of pod %q broke off: %w", container.Name, pod.Name, err)
	}
	return int(ended.ExitCode), nil
}

// debugContainer returns a container like the pod's init-redirect: with its image, its
// user, its capabilities and its mounts.
func debugContainer(pod *corev1.Pod, args []string) (*corev1.EphemeralContainer, error) {
	ours := Container(pod, InitRedirect)
	if ours == nil {
		return nil, fmt.Errorf("pod %q in namespace %q has no container %s, whose image and rights the new one would have: only a pod that was injected, or is written like one, has the rules", pod.Name, pod.Namespace, InitRedirect)
	}
	container := &corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name:  DebugPrefix + strings.ToLower(rand.Text()[:6]),
		Image: ours.Image, ImagePullPolicy: ours.ImagePullPolicy, Command: ours.Command, Args: args,
		Env: ours.Env, SecurityContext: ours.SecurityContext, VolumeMounts: ours.VolumeMounts,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}}
	return container, nil
}

// Flags returns the flags of the pod's init-redirect, without the name of a command.
func Flags(pod *corev1.Pod) []string {
	ours := Container(pod, InitRedirect)
	if ours == nil {
		return nil
	}
	first := slices.IndexFunc(ours.Args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if first < 0 {
		return nil
	}
	return ours.Args[first:]
}

// addEphemeral adds a container to a running pod.
func (a *Access) addEphemeral(ctx context.Context, pod *corev1.Pod, container *corev1.EphemeralContainer) error {
	// The patch is by name, so two persons can add containers at the same time.
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": []*corev1.EphemeralContainer{container}}})
	if err != nil {
		return err
	}
	_, err = a.Core.Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "ephemeralcontainers")
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "PodSecurity"):
		return fmt.Errorf("namespace %q forbids NET_ADMIN now, which a container needs to look at the rules: let it enforce the Pod Security level \"privileged\", as for init-redirect: %w", pod.Namespace, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not add a container to pod %q in namespace %q: have an administrator give you the right to patch pods/ephemeralcontainers there: %w", pod.Name, pod.Namespace, err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("pod %q in namespace %q is gone meanwhile, or Kubernetes is older than 1.25, which cannot add containers to pods: %w", pod.Name, pod.Namespace, err)
	default:
		return a.refused(err, "add a container to pod %q in namespace %q", pod.Name, pod.Namespace)
	}
}

// awaitEnd waits until a container has ended.
func (a *Access) awaitEnd(ctx context.Context, pod *corev1.Pod, name string) (*corev1.ContainerStateTerminated, error) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	state := "has not started"
	for {
		now, err := a.Core.Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil && ctx.Err() == nil {
			return nil, a.refused(err, "read pod %q in namespace %q", pod.Name, pod.Namespace)
		}
		if err == nil {
			if now.UID != pod.UID || now.Status.Phase == corev1.PodSucceeded || now.Status.Phase == corev1.PodFailed {
				return nil, fmt.Errorf("pod %q in namespace %q ended before the container %s did: ask again for a pod that runs", pod.Name, pod.Namespace, name)
			}
			if status := statusOf(now, name); status != nil {
				switch {
				case status.State.Terminated != nil:
					return status.State.Terminated, nil
				case status.State.Running != nil:
					state = "runs"
				case status.State.Waiting != nil:
					state = fmt.Sprintf("waits (%s): %s%s", status.State.Waiting.Reason, status.State.Waiting.Message, cureOf(status.State.Waiting.Reason))
				}
			}
		}
		select {
		case <-ctx.Done():
			why := cmp.Or(context.Cause(ctx), errors.New("no time is left"))
			return nil, fmt.Errorf("the container %s, which was added to pod %q in namespace %q, %s: give a longer --timeout, or look at 'kubectl --namespace %s describe pod %s': %w", name, pod.Name, pod.Namespace, state, pod.Namespace, pod.Name, why)
		case <-ticker.C:
		}
	}
}
