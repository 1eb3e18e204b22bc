// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
)

// installOperator installs Prometheus Operator in the seed. It also gives the node the
// image that the operator uses for a Prometheus that names none.
func installOperator(t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	rig.InstallPrometheusOperator(t)
	importPrometheus(clustertest.Context(t), t, rig)
}

// importPrometheus gives the node the image under the operator's name for it, with the
// version. Only the operator knows that name. A Prometheus without pods therefore asks
// it.
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
