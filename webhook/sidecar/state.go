// SPDX-License-Identifier: Apache-2.0

package sidecar

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// lastLines is how many lines of a container's log a sentence is followed by, and
// lastBytes how many bytes.
const (
	lastLines = int64(6)
	lastBytes = int64(8 << 10)
)

// StoppedError says why nothing can be run in a sidecar now.
type StoppedError struct {
	// Sentence names the pod, its state, and the next step.
	Sentence string
	// Log are the last lines of the container that failed, if there are any.
	Log string
}

func (e *StoppedError) Error() string { return e.Sentence }

// Placed returns nil if the pod is on a node and has not ended, so that containers can run in
// it. Otherwise the error says why not.
func Placed(pod *corev1.Pod) error {
	where := fmt.Sprintf("pod %q in namespace %q", pod.Name, pod.Namespace)
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		why := strings.TrimSpace(pod.Status.Reason + " " + pod.Status.Message)
		return &StoppedError{Sentence: fmt.Sprintf("%s has ended (%s): its sidecar runs no more; name a pod that runs", where, cmp.Or(why, string(pod.Status.Phase)))}
	case pod.Spec.NodeName == "":
		return &StoppedError{Sentence: fmt.Sprintf("%s has no node yet, so its sidecar does not run: %s", where, unscheduled(pod))}
	}
	return nil
}

// Running returns nil if the pod's sidecar runs. Otherwise the error says in which state
// it is, why, and what to do. Ask only for a pod that has the sidecar.
func (a *Access) Running(ctx context.Context, pod *corev1.Pod) error {
	where := fmt.Sprintf("pod %q in namespace %q", pod.Name, pod.Namespace)
	if status := statusOf(pod, ProxyClient); status != nil && status.State.Running != nil {
		return nil
	}
	if err := Placed(pod); err != nil {
		return err
	}
	for _, name := range before(pod) {
		if failed := a.failure(ctx, pod, name); failed != nil {
			failed.Sentence = fmt.Sprintf("the sidecar of %s has not started, because %s comes first: %s", where, name, failed.Sentence)
			return failed
		}
	}
	if failed := a.failure(ctx, pod, ProxyClient); failed != nil {
		failed.Sentence = fmt.Sprintf("the sidecar of %s does not run: %s", where, failed.Sentence)
		return failed
	}
	return &StoppedError{Sentence: fmt.Sprintf("the sidecar of %s has not started yet: %s", where, a.waiting(ctx, pod))}
}

// before returns the init containers that start before the sidecar.
func before(pod *corev1.Pod) []string {
	var names []string
	for _, c := range pod.Spec.InitContainers {
		if c.Name == ProxyClient {
			break
		}
		names = append(names, c.Name)
	}
	return names
}

// unscheduled says why a pod has no node.
func unscheduled(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue && c.Message != "" {
			return c.Message
		}
	}
	return "the scheduler has not placed it; look at its events with 'kubectl describe pod'"
}

// waiting says what a pod waits for, whose containers have no failure of their own.
func (a *Access) waiting(ctx context.Context, pod *corev1.Pod) string {
	events, err := a.Core.Events(pod.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.name": pod.Name, "involvedObject.uid": string(pod.UID), "type": corev1.EventTypeWarning}.String(),
	})
	if err == nil && len(events.Items) > 0 {
		newest := slices.MaxFunc(events.Items, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
		return fmt.Sprintf("%s: %s", newest.Reason, strings.TrimSpace(newest.Message))
	}
	return fmt.Sprintf("it waits for its volumes, its images or earlier containers; 'kubectl --namespace %s describe pod %s' shows its events", pod.Namespace, pod.Name)
}

// failure returns what is wrong with a container, or nil if nothing is known to be.
func (a *Access) failure(ctx context.Context, pod *corev1.Pod, name string) *StoppedError {
	status := statusOf(pod, name)
	if status == nil {
		return nil
	}
	ended, waiting := lastEnd(status), status.State.Waiting
	switch {
	case waiting != nil && waiting.Reason == "CrashLoopBackOff" && ended != nil, status.State.Terminated != nil && ended.ExitCode != 0:
		return a.ended(ctx, pod, status)
	case waiting != nil && waiting.Message != "":
		return &StoppedError{Sentence: fmt.Sprintf("%s waits (%s): %s%s", name, waiting.Reason, strings.TrimSpace(waiting.Message), cureOf(waiting.Reason))}
	case status.State.Running != nil && name != ProxyClient && status.RestartCount > 0 && ended != nil:
		return &StoppedError{Sentence: fmt.Sprintf("%s runs again after it ended with exit code %d%s", name, ended.ExitCode, endOf(ended)), Log: a.tail(ctx, pod, name, true)}
	default:
		return nil
	}
}

// lastEnd returns how a container last ended, or nil if it has not ended yet.
func lastEnd(status *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	return cmp.Or(status.State.Terminated, status.LastTerminationState.Terminated)
}

// ended returns the error for a container that has ended before.
func (a *Access) ended(ctx context.Context, pod *corev1.Pod, status *corev1.ContainerStatus) *StoppedError {
	times := status.RestartCount // how often it started again
	if status.State.Running == nil {
		times++
	}
	again := ""
	if times > 1 {
		again = fmt.Sprintf(" %d times", times)
	}
	last := lastEnd(status)
	return &StoppedError{
		Sentence: fmt.Sprintf("%s has ended%s, last with exit code %d%s", status.Name, again, last.ExitCode, endOf(last)),
		Log:      a.tail(ctx, pod, status.Name, status.State.Terminated == nil),
	}
}

// stopped returns why a container does not run, of which the kubelet has just said so. The
// pod's status may be older than that, and call it running. stopped returns nil if the
// container has not ended before.
func (a *Access) stopped(ctx context.Context, pod *corev1.Pod, container string) *StoppedError {
	now, err := a.Core.Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	status := statusOf(now, container)
	if status == nil || lastEnd(status) == nil {
		return nil
	}
	failed := a.ended(ctx, now, status)
	failed.Sentence = fmt.Sprintf("%s of pod %q in namespace %q does not run: %s", described(container), pod.Name, pod.Namespace, failed.Sentence)
	return failed
}

// described returns what a container is, for people.
func described(container string) string {
	if container == ProxyClient {
		return "the sidecar"
	}
	return "container " + container
}

// endOf says how a container ended: its own words, if it left some.
func endOf(ended *corev1.ContainerStateTerminated) string {
	var said struct {
		Error string `json:"error"` // init-redirect writes it: cmd/init-redirect, writeLastWords
	}
	text := strings.TrimSpace(ended.Message)
	if json.Unmarshal([]byte(text), &said) == nil && said.Error != "" {
		text = said.Error
	}
	switch {
	case ended.Reason == "OOMKilled":
		return " (OOMKilled): it needed more memory than its limit, so raise the limit, or lower --total-buffer"
	case text != "":
		return ": " + text
	case ended.ExitCode == 2:
		return ": its flags are not valid; its log says which"
	default:
		return fmt.Sprintf(" (%s): its log says why", cmp.Or(ended.Reason, "no reason is known"))
	}
}

// cureOf returns what to do about a reason for which a container waits.
func cureOf(reason string) string {
	switch reason {
	case "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull":
		return "; check the image's name, and that the node can pull it (docs/install.md, The images)"
	case "CreateContainerConfigError":
		return "; make what is missing, and the kubelet tries again"
	default:
		return ""
	}
}

// tail returns the last lines of a container's log, or of its previous run. It returns ""
// if they cannot be read.
func (a *Access) tail(ctx context.Context, pod *corev1.Pod, container string, previous bool) string {
	text, err := a.Log(ctx, pod, container, LogOptions{Lines: lastLines, Bytes: lastBytes, Previous: previous})
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(text))
}

// LogOptions say which part of a log to read.
type LogOptions struct {
	// Lines and Bytes limit what is read. The last lines are read, and of these the
	// first bytes: see core/v1, PodLogOptions.
	Lines, Bytes int64
	// Previous asks for the container's run before the present one.
	Previous bool
}

const (
	// logRemoved begins what the kubelet answers, with status 200, in the place of a log
	// that it has removed. It keeps one run before the present one. While a container
	// starts again, the run that the pod's status calls the last may be the one that goes.
	logRemoved = "unable to retrieve container logs for "
	// logAttempts is how often a log is asked for, and logPause the time between.
	logAttempts = 5
	logPause    = time.Second
)

// Log reads the end of a container's log. If the kubelet has just removed it, Log asks for the
// one that has come in its place.
func (a *Access) Log(ctx context.Context, pod *corev1.Pod, container string, opts LogOptions) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		text, err := a.readLog(ctx, pod, container, opts)
		if err != nil || attempt == logAttempts || !bytes.HasPrefix(text, []byte(logRemoved)) {
			return text, err
		}
		select {
		case <-ctx.Done():
			return text, nil
		case <-time.After(logPause):
		}
	}
}

func (a *Access) readLog(ctx context.Context, pod *corev1.Pod, container string, opts LogOptions) ([]byte, error) {
	text, err := a.Core.Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, Previous: opts.Previous, TailLines: &opts.Lines, LimitBytes: &opts.Bytes,
	}).DoRaw(ctx)
	if err != nil {
		return nil, a.refused(err, "read the log of container %s of pod %q in namespace %q", container, pod.Name, pod.Namespace)
	}
	return text, nil
}
