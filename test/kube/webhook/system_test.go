// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/shoot-proxy/proxy-client/test/kube/cluster"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// patience is how long a test waits for what should come within a moment. It is a guard
// against hanging, not a promise of speed.
const patience = 2 * time.Minute

// system is a cluster with what the tests need to work in it.
type system struct {
	programs
	*cluster.Cluster
	client   kubernetes.Interface
	dynamic  dynamic.Interface
	mapper   *restmapper.DeferredDiscoveryRESTMapper
	warnings *warnings
	// settled counts the calls of settle.
	settled int
}

// newSystem runs a cluster for as long as t runs. If this machine cannot, t is skipped
// visibly. With REQUIRE_ROOT=1 in the environment t fails instead.
func newSystem(t *testing.T, opts cluster.Options) *system {
	t.Helper()
	p, err := findPrograms()
	if err == nil {
		err = cluster.Available()
	}
	labtest.Require(t, err)
	ctx := within(t, patience)
	c, err := cluster.Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Ended(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the cluster's processes said:\n%s", c.Logs())
		}
		if err := c.Close(); err != nil {
			t.Errorf("the cluster left something behind: %v", err)
		}
	})
	if err := c.StartControllerManager(ctx); err != nil {
		t.Fatal(err)
	}
	s := &system{programs: p, Cluster: c, warnings: &warnings{}}
	config := c.Admin()
	config.WarningHandler = s.warnings
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if s.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(s.client.Discovery()))
	return s
}

// within returns a context that ends with t, or after limit.
func within(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// eventually is [labtest.Eventually] with the limit of these tests.
func eventually(t testing.TB, what string, condition func(context.Context) error) {
	t.Helper()
	labtest.Eventually(t, patience, what, condition)
}

// resource returns the client for the kind of the object.
func (s *system) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := object.GroupVersionKind()
	mapping, err := s.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		s.mapper.Reset() // its definition may be new
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return s.dynamic.Resource(mapping.Resource), nil
	}
	return s.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
}

// apply does the same as `kubectl apply --server-side`, and is strict about unknown
// fields.
func (s *system) apply(ctx context.Context, object *unstructured.Unstructured, dryRun ...string) error {
	what := object.GetKind() + " " + object.GetName()
	resource, err := s.resource(object)
	if err != nil {
		return fmt.Errorf("apply %s: %w", what, err)
	}
	text, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("apply %s: %w", what, err)
	}
	force := true
	_, err = resource.Patch(ctx, object.GetName(), types.ApplyPatchType, text, metav1.PatchOptions{
		FieldManager: "test", Force: &force, FieldValidation: metav1.FieldValidationStrict, DryRun: dryRun,
	})
	if err != nil {
		return fmt.Errorf("apply %s: %w", what, err)
	}
	return nil
}

// applyAll applies every object.
func (s *system) applyAll(t testing.TB, objects manifests) {
	t.Helper()
	for _, object := range objects {
		if err := s.apply(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

// remove deletes every object, the last first.
func (s *system) remove(t testing.TB, objects manifests) {
	t.Helper()
	for i := len(objects) - 1; i >= 0; i-- {
		resource, err := s.resource(objects[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := resource.Delete(t.Context(), objects[i].GetName(), metav1.DeleteOptions{}); err != nil {
			t.Fatalf("delete %s %s: %v", objects[i].GetKind(), objects[i].GetName(), err)
		}
	}
}

// namespace makes a namespace for a test, and waits for what controllers put into it.
func (s *system) namespace(t testing.TB, name string, labels map[string]string) string {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-", Labels: labels}}
	made, err := s.client.CoreV1().Namespaces().Create(t.Context(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.furnished(t, made.Name)
	return made.Name
}

func (s *system) furnished(t testing.TB, namespace string) {
	t.Helper()
	eventually(t, "the ServiceAccount and the root CA of namespace "+namespace, func(ctx context.Context) error {
		if _, err := s.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := s.client.CoreV1().ConfigMaps(namespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
}

// resourceOf returns the name that dynamic clients use for a resource of a discovered
// list.
func resourceOf(t testing.TB, list *metav1.APIResourceList, kind metav1.APIResource) schema.GroupVersionResource {
	t.Helper()
	version, err := schema.ParseGroupVersion(list.GroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	return version.WithResource(kind.Name)
}

// as returns a client with the rights of a token.
func (s *system) as(t testing.TB, token string) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(s.Config(token))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// warnings are those that the API server gave since the last call of take.
type warnings struct {
	mutex sync.Mutex
	texts []string
}

var _ rest.WarningHandler = (*warnings)(nil)

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(code int, _, text string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if code == 299 {
		w.texts = append(w.texts, text)
	}
}

func (w *warnings) take() []string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}
