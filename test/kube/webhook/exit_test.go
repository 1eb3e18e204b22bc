// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// testExitChart: the API server accepts everything that the exit's chart renders, and its
// pods pass Pod Security's strictest level.
func (in *installed) testExitChart(t *testing.T) {
	namespace := in.namespace(t, "exit", map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	agents := in.namespace(t, "agents", nil)
	files, err := filepath.Glob(filepath.Join(in.exitChart, "ci", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the exit's chart has no value files in ci: %v", err)
	}
	for _, file := range files {
		for _, object := range in.renderOf(t, in.exitChart, "proxy-exit", namespace, file) {
			if strings.HasSuffix(object.GetName(), "-agents") {
				object.SetNamespace(agents)
			}
			// The address is of another cluster's range.
			unstructured.RemoveNestedField(object.Object, "spec", "clusterIP")
			if err := in.apply(t.Context(), object, metav1.DryRunAll); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}

	values := filepath.Join(t.TempDir(), "values.yaml")
	for _, tt := range []struct {
		name, values string
		replicas     int32
	}{
		{"as it is", "{}", 2},
		// The control experiment: such a pod is refused.
		{"with another security context", "securityContext: {allowPrivilegeEscalation: true}", 0},
	} {
		if err := os.WriteFile(values, []byte(tt.values), 0o600); err != nil {
			t.Fatal(err)
		}
		objects := in.renderOf(t, in.exitChart, "proxy-exit", namespace, values)
		in.applyAll(t, objects)
		in.awaitExits(t, namespace, tt.name, tt.replicas)
		in.remove(t, objects)
		in.awaitNoExits(t, namespace)
	}
}

// awaitExits waits until the exit's newest ReplicaSet has made its pods, or failed to.
func (in *installed) awaitExits(t *testing.T, namespace, name string, want int32) {
	t.Helper()
	eventually(t, "the exit's pods "+name, func(ctx context.Context) error {
		sets, err := in.client.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(sets.Items) != 1 {
			return fmt.Errorf("there are %d ReplicaSets", len(sets.Items))
		}
		status := sets.Items[0].Status
		for _, c := range status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
				if want == 0 && strings.Contains(c.Message, "violates PodSecurity") {
					return nil
				}
				return fmt.Errorf("%s", c.Message)
			}
		}
		if want == 0 || status.Replicas != want {
			return fmt.Errorf("there are %d, want %d", status.Replicas, want)
		}
		return nil
	})
}

// awaitNoExits waits until the garbage collector has removed the exit's ReplicaSets and
// pods.
func (in *installed) awaitNoExits(t *testing.T, namespace string) {
	t.Helper()
	eventually(t, "the end of the exit's pods", func(ctx context.Context) error {
		sets, err := in.client.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(sets.Items) > 0 {
			return fmt.Errorf("there are %d ReplicaSets", len(sets.Items))
		}
		return nil
	})
}
