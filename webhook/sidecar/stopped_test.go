// SPDX-License-Identifier: Apache-2.0

package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestContainerThatHasEnded: if the kubelet says that a container does not run, the error says
// how it ended, also while the pod's status still calls it running.
func TestContainerThatHasEnded(t *testing.T) {
	crashed := &corev1.ContainerStateTerminated{ExitCode: 2, Message: "no such mode"}
	const kubelet = `unable to upgrade connection: container not found ("proxy-client")`
	const ended = `the sidecar of pod "crash" in namespace "apps" does not run: proxy-client has ended%s, last with exit code 2: no such mode`
	for name, c := range map[string]struct {
		status corev1.ContainerStatus
		want   string
	}{
		"called running": {corev1.ContainerStatus{RestartCount: 3, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastTerminationState: corev1.ContainerState{Terminated: crashed}}, fmt.Sprintf(ended, " 3 times")},
		"called waiting": {corev1.ContainerStatus{RestartCount: 3, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}, LastTerminationState: corev1.ContainerState{Terminated: crashed}}, fmt.Sprintf(ended, " 4 times")},
		"ended":          {corev1.ContainerStatus{State: corev1.ContainerState{Terminated: crashed}}, fmt.Sprintf(ended, "")},
		"not started":    {corev1.ContainerStatus{}, `container proxy-client of pod "crash" in namespace "apps" does not run at the moment, so nothing can be asked in it: wait until it has started again: ` + kubelet},
	} {
		t.Run(name, func(t *testing.T) {
			c.status.Name = ProxyClient
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "crash"}, Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{c.status}}}
			access := accessTo(t, func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/api/v1/namespaces/apps/pods/crash":
					w.Header().Set("Content-Type", "application/json")
					_ = json.NewEncoder(w).Encode(pod)
				case "/api/v1/namespaces/apps/pods/crash/log":
					fmt.Fprint(w, "the last words")
				default:
					t.Errorf("asked for %s", r.URL)
				}
			})
			err := access.notRun(t.Context(), pod, ProxyClient, []string{"/proxy-client", "check"}, errors.New(kubelet))
			if err.Error() != c.want {
				t.Errorf("got  %q\nwant %q", err, c.want)
			}
			if stopped, ok := errors.AsType[*StoppedError](err); ok && stopped.Log != "the last words" {
				t.Errorf("the log is %q", stopped.Log)
			}
		})
	}
}
