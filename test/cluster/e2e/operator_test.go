// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
)

// prometheusBase is the name of the Prometheus image that the operator is told; it adds the
// version that it likes best.
const prometheusBase = "registry.example/test/prometheus-of-the-operator"

// operatorName is that of its namespace and its Deployment.
const operatorName = "prometheus-operator"

// installOperator has Prometheus Operator run in the seed, and the image on the node that
// it gives to a Prometheus which names none. It stays for the tests that follow, and one
// that is there is used.
func installOperator(t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	ctx := clustertest.Context(t)
	switch _, err := rig.Seed.Client.AppsV1().Deployments(operatorName).Get(ctx, operatorName, metav1.GetOptions{}); {
	case apierrors.IsNotFound(err):
		makeOperator(ctx, t, rig)
	case err != nil:
		t.Fatal(err)
	}
	rig.Seed.AwaitDeployment(t, operatorName, operatorName, clustertest.Available)
	importPrometheus(ctx, t, rig)
}

func makeOperator(ctx context.Context, t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	archives, err := image.Archives(ctx, rig.State.Binaries, image.PrometheusOperator, image.ConfigReloader)
	if err != nil {
		t.Fatal(err)
	}
	for _, archive := range archives {
		if err := rig.Seed.Node.Import(ctx, archive); err != nil {
			t.Fatal(err)
		}
	}
	crds := filepath.Join(rig.State.Binaries, "node", "crds", "prometheus-operator")
	if out, err := rig.Seed.Kubectl(t, "apply", "--server-side", "--filename", crds); err != nil {
		t.Fatalf("make the operator's definitions: %v\n%s", err, out)
	}
	if out, err := rig.Seed.KubectlWith(t, operator(), "apply", "--filename=-"); err != nil {
		t.Fatalf("make the operator: %v\n%s", err, out)
	}
}

func operator() string {
	return `
apiVersion: v1
kind: Namespace
metadata: {name: prometheus-operator}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: prometheus-operator, namespace: prometheus-operator}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: prometheus-operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: prometheus-operator, namespace: prometheus-operator}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: prometheus-operator, namespace: prometheus-operator}
spec:
  selector:
    matchLabels: {app: prometheus-operator}
  template:
    metadata:
      labels: {app: prometheus-operator}
    spec:
      serviceAccountName: prometheus-operator
      containers:
      - name: operator
        image: ` + image.Reference(image.PrometheusOperator) + `
        imagePullPolicy: Never
        args:
        - --kubelet-endpoints=false
        - --prometheus-config-reloader=` + image.Reference(image.ConfigReloader) + `
        - --prometheus-default-base-image=` + prometheusBase + `
        readinessProbe:
          httpGet: {path: /healthz, port: 8080}
          periodSeconds: 1
`
}

// importPrometheus gives the node the image under the name that the operator has for it,
// version included. Only the operator knows that, so it is asked by a Prometheus without
// pods.
func importPrometheus(ctx context.Context, t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	namespace := rig.Seed.Namespace(t)
	rig.Seed.Apply(t, namespace, `
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: none}
spec: {replicas: 0}
`)
	var name string
	clustertest.Eventually(t, "the operator to make a StatefulSet", func(ctx context.Context) error {
		set, err := rig.Seed.Client.AppsV1().StatefulSets(namespace).Get(ctx, "prometheus-none", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range set.Spec.Template.Spec.Containers {
			if c.Name == "prometheus" {
				name = c.Image
				return nil
			}
		}
		return errors.New("it has no container prometheus")
	})
	prometheus, err := image.New(image.Prometheus, rig.State.Binaries)
	if err != nil {
		t.Fatal(err)
	}
	prometheus.Reference = name
	archive := filepath.Join(t.TempDir(), "prometheus.tar")
	if err := prometheus.Write(archive); err != nil {
		t.Fatal(err)
	}
	if err := rig.Seed.Node.Import(ctx, archive); err != nil {
		t.Fatal(err)
	}
}
