// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// fakeAPIServer gives the answers that were set, and fails the test for any other
// request. A watch sends the existing objects, and then nothing more.
type fakeAPIServer struct {
	t       testing.TB
	watches map[string][]any // objects, by path
	mu      sync.Mutex
	objects map[string]func() (int, any) // by path; called one at a time
	asked   map[string]int
}

func newFakeAPIServer(t testing.TB) (*fakeAPIServer, *rest.Config) {
	f := &fakeAPIServer{t: t, watches: map[string][]any{}, objects: map[string]func() (int, any){}, asked: map[string]int{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, &rest.Config{Host: server.URL}
}

func (f *fakeAPIServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		f.t.Errorf("%s %s: nothing should change", r.Method, r.URL)
	}
	w.Header().Set("Content-Type", "application/json")
	if objects, ok := f.watches[r.URL.Path]; ok && r.URL.Query().Get("watch") != "" {
		f.watch(w, r, objects)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	answer, ok := f.objects[r.URL.Path]
	if !ok {
		f.t.Errorf("nobody should ask for %s", r.URL)
		http.NotFound(w, r)
		return
	}
	f.asked[r.URL.Path]++
	code, body := answer()
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		f.t.Error(err)
	}
}

// watch streams the existing objects, and then the bookmark that ends the list.
func (f *fakeAPIServer) watch(w http.ResponseWriter, r *http.Request, objects []any) {
	if r.URL.Query().Get("sendInitialEvents") != "true" {
		f.t.Errorf("%s: a watch that we cannot answer", r.URL)
	}
	send := func(kind string, object any) {
		if err := json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": object}); err != nil {
			f.t.Error(err)
		}
	}
	kind := "Node"
	version := "v1"
	if strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata") {
		kind, version = "PartialObjectMetadata", "meta.k8s.io/v1"
	}
	for _, o := range objects {
		send("ADDED", o)
	}
	send("BOOKMARK", map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{
		"resourceVersion": "10", "annotations": map[string]string{metav1.InitialEventsAnnotationKey: "true"},
	}})
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// told sets the answers for a path.
func (f *fakeAPIServer) told(path string, answers ...func() (int, any)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	f.objects[path] = func() (int, any) {
		n++
		if n > len(answers) {
			f.t.Errorf("%s is asked for once more than %d times", path, len(answers))
			return answers[len(answers)-1]()
		}
		return answers[n-1]()
	}
}

func found(object any) func() (int, any) { return func() (int, any) { return http.StatusOK, object } }

func failed(code int, reason metav1.StatusReason) func() (int, any) {
	return func() (int, any) {
		return code, metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
			Code: int32(code), Reason: reason, Message: fmt.Sprintf("answered %d", code),
		}
	}
}

func namespaceMetadata(name string, labels map[string]string) any {
	return metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, ResourceVersion: "3", Annotations: map[string]string{"note": "long"}},
	}
}

func nodeObject(name, version string) any {
	node := kubelet(name, version, map[string]string{corev1.LabelOSStable: "linux"})
	node.TypeMeta, node.ResourceVersion = metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, "4"
	node.Status.Images = []corev1.ContainerImage{{Names: []string{"large"}}}
	return node
}
