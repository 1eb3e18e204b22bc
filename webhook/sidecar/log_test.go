// SPDX-License-Identifier: Apache-2.0

package sidecar

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// accessTo returns an Access to an API server that answers as handler does.
func accessTo(t *testing.T, handler http.HandlerFunc) *Access {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	core, err := corev1client.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return &Access{Core: core}
}

// TestLogThatWasRemoved: while a container starts again, the kubelet may answer that the log
// of its last run is gone. The log that has come in its place is read.
func TestLogThatWasRemoved(t *testing.T) {
	var asked int
	access := accessTo(t, func(w http.ResponseWriter, r *http.Request) {
		if want := "/api/v1/namespaces/apps/pods/crash/log"; r.URL.Path != want || r.URL.Query().Get("previous") != "true" {
			t.Errorf("asked for %s, want the log before at %s", r.URL, want)
		}
		if asked++; asked == 1 {
			fmt.Fprint(w, "unable to retrieve container logs for containerd://35")
			return
		}
		fmt.Fprint(w, "the last words")
	})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "crash"}}
	text, err := access.Log(t.Context(), pod, "proxy-client", LogOptions{Lines: 10, Bytes: 1000, Previous: true})
	if err != nil || string(text) != "the last words" || asked != 2 {
		t.Errorf("asked %d times, got %q and %v", asked, text, err)
	}
}
