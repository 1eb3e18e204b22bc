// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Describe returns what a person would ask about a namespace in which something failed.
// This is its pods, its events, and the last lines of each container's log.
func Describe(ctx context.Context, client kubernetes.Interface, namespace string) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var text strings.Builder
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Sprintf("list pods of namespace %q: %v\n", namespace, err)
	}
	events, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		fmt.Fprintf(&text, "list events: %v\n", err)
	} else {
		describeEvents(&text, events.Items)
	}
	for i := range pods.Items {
		describePod(ctx, &text, client, &pods.Items[i])
	}
	return text.String()
}

func describeEvents(text *strings.Builder, events []corev1.Event) {
	slices.SortFunc(events, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	for _, e := range events {
		fmt.Fprintf(text, "event %s/%s/%s %s %s: %s\n", e.Namespace, strings.ToLower(e.InvolvedObject.Kind), e.InvolvedObject.Name, e.Type, e.Reason, e.Message)
	}
}

func describePod(ctx context.Context, text *strings.Builder, client kubernetes.Interface, pod *corev1.Pod) {
	fmt.Fprintf(text, "--- pod %s/%s %s %s %s\n", pod.Namespace, pod.Name, pod.Status.Phase, pod.Status.PodIP, pod.Status.Message)
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		fmt.Fprintf(text, "container %s: ready=%t restarts=%d %s\n", c.Name, c.Ready, c.RestartCount, describeState(c.State))
		if c.State.Waiting != nil && c.RestartCount == 0 {
			continue // it has no log
		}
		for _, previous := range []bool{true, false} {
			if previous && c.RestartCount == 0 {
				continue
			}
			lines := int64(25)
			log, err := client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: c.Name, TailLines: &lines, Previous: previous}).DoRaw(ctx)
			if err != nil {
				log = []byte(err.Error())
			}
			fmt.Fprintf(text, "%s\n", indent(string(log)))
		}
	}
}

func describeState(s corev1.ContainerState) string {
	switch {
	case s.Waiting != nil:
		return fmt.Sprintf("waits: %s %s", s.Waiting.Reason, s.Waiting.Message)
	case s.Terminated != nil:
		return fmt.Sprintf("ended: %s, exit code %d %s", s.Terminated.Reason, s.Terminated.ExitCode, s.Terminated.Message)
	default:
		return "runs"
	}
}

func indent(log string) string {
	return "\t" + strings.ReplaceAll(strings.TrimRight(log, "\n"), "\n", "\n\t")
}
