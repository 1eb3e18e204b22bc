// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/cluster/manifest"
)

// addon is a controller in the seed which has custom resources. It has all rights there,
// because the tests are not about its rights.
type addon struct {
	// name is that of its namespace, Deployment and image.
	name string
	args []string
	// images are the images of the pods that it makes.
	images []string
	// definitions are the files of its CustomResourceDefinitions, below test/bin/node/crds.
	definitions []string
}

// InstallPrometheusOperator gives the seed Prometheus Operator, which serves all of its
// namespaces, for the life of the clusters. Each test that needs it calls it. A
// Prometheus must name image.Prometheus as its image, and its version. No node has the
// image that the operator uses by default.
func (r *Rig) InstallPrometheusOperator(t testing.TB) {
	t.Helper()
	r.install(t, addon{
		name: image.PrometheusOperator,
		args: []string{
			"--kubelet-endpoints=false",
			"--prometheus-config-reloader=" + image.Reference(image.ConfigReloader),
			"--prometheus-default-base-image=registry.example/test/prometheus-of-the-operator",
		},
		images: []string{image.ConfigReloader},
		// The operator works without those that are missing, such as Alertmanager's.
		definitions: []string{
			"prometheus-operator/monitoring.coreos.com_prometheuses.yaml",
			"prometheus-operator/monitoring.coreos.com_prometheusrules.yaml",
			"prometheus-operator/monitoring.coreos.com_scrapeconfigs.yaml",
			"prometheus-operator/monitoring.coreos.com_servicemonitors.yaml",
			"prometheus-operator/monitoring.coreos.com_podmonitors.yaml",
			"prometheus-operator/monitoring.coreos.com_probes.yaml",
		},
	})
}

// InstallCertManager gives the seed cert-manager for the life of the clusters. Each test
// that needs it calls it.
func (r *Rig) InstallCertManager(t testing.TB) {
	t.Helper()
	r.install(t, addon{
		name: image.CertManager,
		definitions: []string{
			"cert-manager/cert-manager.io_certificaterequests.yaml",
			"cert-manager/cert-manager.io_certificates.yaml",
			"cert-manager/cert-manager.io_clusterissuers.yaml",
			"cert-manager/cert-manager.io_issuers.yaml",
			"cert-manager/acme.cert-manager.io_challenges.yaml",
			"cert-manager/acme.cert-manager.io_orders.yaml",
		},
	})
}

// install installs an addon, and returns once it runs.
func (r *Rig) install(t testing.TB, a addon) {
	t.Helper()
	defer r.lock(t, a.name)()
	ctx := Context(t)
	_, err := r.Seed.Client.AppsV1().Deployments(a.name).Get(ctx, a.name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if err != nil {
		r.ImportImages(t, append(a.images, a.name)...)
		for _, name := range a.definitions {
			r.Seed.define(ctx, t, filepath.Join(r.State.Binaries, "node", "crds", name))
		}
		r.Seed.Apply(t, a.name, a.manifest())
	}
	r.Seed.AwaitDeployment(t, a.name, a.name, Available)
}

// ImportImages gives the seed's node images of package image that it did not get at its
// start.
func (r *Rig) ImportImages(t testing.TB, names ...string) {
	t.Helper()
	ctx := Context(t)
	archives, err := image.Archives(ctx, r.State.Binaries, names...)
	if err != nil {
		t.Fatal(err)
	}
	for _, archive := range archives {
		if err := r.Seed.Node.Import(ctx, archive); err != nil {
			t.Fatal(err)
		}
	}
}

// define makes a CustomResourceDefinition and waits until its resources can be used.
func (c *Cluster) define(ctx context.Context, t testing.TB, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: `make cluster-binaries` makes it", err)
	}
	if err := manifest.Apply(ctx, c.Config, "", string(text)); err != nil {
		t.Fatal(err)
	}
	objects, err := manifest.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	definitions := c.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, object := range objects {
		Eventually(t, "the establishment of "+object.GetName(), func(ctx context.Context) error {
			definition, err := definitions.Get(ctx, object.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			return established(definition)
		})
	}
}

func established(definition *unstructured.Unstructured) error {
	conditions, _, err := unstructured.NestedSlice(definition.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
			return nil
		}
	}
	return fmt.Errorf("its conditions are %v", conditions)
}

func (a addon) manifest() string {
	var args strings.Builder
	for _, arg := range a.args {
		fmt.Fprintf(&args, "%q, ", arg)
	}
	return strings.NewReplacer("NAME", a.name, "IMAGE", image.Reference(a.name), "ARGS", args.String()).Replace(`
apiVersion: v1
kind: Namespace
metadata: {name: NAME}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: NAME}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: NAME, namespace: NAME}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector:
    matchLabels: {app: NAME}
  template:
    metadata:
      labels: {app: NAME}
    spec:
      serviceAccountName: NAME
      enableServiceLinks: false
      terminationGracePeriodSeconds: 1
      containers:
      - name: NAME
        image: IMAGE
        imagePullPolicy: Never
        args: [ARGS]
`)
}
