// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// definitions returns the CustomResourceDefinitions that the chart's objects need. They
// are real ones, out of the modules that test/crds pins. Gardener's is a minimal one,
// because the Go module proxy does not serve its module.
func definitions(t testing.TB) manifests {
	t.Helper()
	var all manifests
	for module, files := range map[string][]string{
		"github.com/cert-manager/cert-manager": {
			"deploy/crds/cert-manager.io_certificates.yaml",
			"deploy/crds/cert-manager.io_issuers.yaml",
			"deploy/crds/cert-manager.io_clusterissuers.yaml",
		},
		"github.com/prometheus-operator/prometheus-operator": {
			"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		},
	} {
		// The module cache of a fresh clone may not have it yet.
		cmd := exec.Command("go", "mod", "download", "-json", module)
		cmd.Dir = filepath.Join("..", "..", "crds")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go mod download %s: %v\n%s", module, err, out)
		}
		var downloaded struct{ Dir string }
		if err := json.Unmarshal(out, &downloaded); err != nil {
			t.Fatalf("go mod download %s: %v", module, err)
		}
		for _, file := range files {
			path := filepath.Join(downloaded.Dir, filepath.FromSlash(file))
			all = append(all, parse(t, path, read(t, path))...)
		}
	}
	const cluster = "testdata/clusters.extensions.gardener.cloud.yaml"
	return append(all, parse(t, cluster, read(t, cluster))...)
}

// define installs the definitions, and returns once their kinds are there.
func (s *system) define(t testing.TB) {
	t.Helper()
	all := definitions(t)
	s.applyAll(t, all)
	for _, definition := range all {
		group, _, err1 := unstructured.NestedString(definition.Object, "spec", "group")
		kind, _, err2 := unstructured.NestedString(definition.Object, "spec", "names", "kind")
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		eventually(t, definition.GetName()+" to be served", func(context.Context) error {
			mapping, err := s.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
			if err != nil {
				s.mapper.Reset() // otherwise it returns the kinds of before
				return err
			}
			// Discovery and the server of the kind learn of it at different moments.
			_, err = s.dynamic.Resource(mapping.Resource).List(t.Context(), metav1.ListOptions{})
			return err
		})
	}
}
