// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shoot-proxy/proxy-client/test/kube/cluster"
	"github.com/shoot-proxy/proxy-client/test/kube/daemon"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// installed is a cluster with the chart in it, and its webhook running.
type installed struct {
	*system
	*hook
	chart   manifests // as it was installed
	port    *daemon.Port
	serving *serving
	ca      *lab.Authority // of the webhook's certificate
}

// TestWebhook installs the chart once for all its parts, because a control plane takes
// seconds to start. Each part has a namespace of its own, and leaves the webhook running.
func TestWebhook(t *testing.T) {
	t.Parallel()
	s := newSystem(t, cluster.Options{})
	s.define(t)
	s.releaseNamespace(t)
	if !t.Run("every manifest passes a server-side dry run", s.testEveryManifest) {
		return
	}
	in := s.installChart(t)
	for _, part := range []struct {
		name string
		test func(*installed, *testing.T)
	}{
		{"the chart's own pods are let in", (*installed).testOwnPods},
		{"the exit's chart is accepted", (*installed).testExitChart},
		{"a labelled pod is injected", (*installed).testLabelled},
		{"webhook inject makes the same pod", (*installed).testFiles},
		{"resources of ours fit into the pod's", (*installed).testResources},
		{"labels and pull secrets are added", (*installed).testPodParts},
		{"an unlabelled pod is untouched", (*installed).testUnlabelled},
		{"bad pods are refused as explain says", (*installed).testRefused},
		{"a warning reaches who makes the pod", (*installed).testWarning},
		{"a dry run is injected and has no side effects", (*installed).testDryRun},
		{"kubectl shoot_proxy says why a pod cannot be asked", (*installed).testPlugin},
		{"a bundle has no secret in it", (*installed).testBundle},
		{"a shoot is compared with the ranges", (*installed).testShoot},
		{"webhook dry-run tells what becomes of a pod", (*installed).testDryRunCommand},
		{"pods of workloads are injected", (*installed).testWorkloads},
		{"images that another webhook rewrites stay", (*installed).testRewriters},
		{"a forged status smuggles nothing in", (*installed).testForgery},
		{"ours do not share the pod's profiles", (*installed).testInherited},
		{"the namespace's ConfigMap is a source", (*installed).testConfigMap},
		{"a ConfigMap that the operator does not list is none", (*installed).testOtherConfigMap},
		{"a namespace's ConfigMap leaves labelled pods alone", (*installed).testDisabledNamespace},
		{"the operator's file leaves labelled pods alone", (*installed).testDisabledCluster},
		{"a namespace that the chart leaves out", (*installed).testLeftOut},
		{"a StatefulSet moves pod by pod, as docs/vpn.md says", (*installed).testMove},
		{"Gardener's Cluster is a source", (*installed).testGardener},
		{"a quota on CPU limits refuses as documented", (*installed).testQuota},
		{"old nodes get the classic order", (*installed).testOldNodes},
		{"the chart's rights are the least", (*installed).testRights},
		{"without a webhook labelled pods are refused, others not", (*installed).testDown},
		{"certificates rotate under load", (*installed).testRotation},
		{"what is removed is gone", (*installed).testRemoval},
	} {
		t.Run(part.name, func(t *testing.T) {
			in.warnings.take()
			part.test(in, t)
		})
	}
}

// releaseNamespace makes the namespace of the chart, as `helm install --create-namespace`
// does. It accepts only pods without privileges.
func (s *system) releaseNamespace(t *testing.T) {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: releaseNamespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if _, err := s.client.CoreV1().Namespaces().Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.furnished(t, releaseNamespace)
}

// installChart installs the chart, runs its webhook, and makes a node on which native
// sidecars run.
func (s *system) installChart(t *testing.T) *installed {
	t.Helper()
	port, err := daemon.HoldPort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	in := &installed{system: s, port: port, serving: newServing(t, s)}
	in.ca = in.serving.authority(t)
	in.serving.replace(t, in.ca)
	in.chart = s.render(t, filepath.Join("testdata", "values.yaml")).pointAt(t, port.Address(), in.ca)
	s.node(t, "new", "v1.36.0")
	s.applyAll(t, in.chart)
	in.hook = newHook(t, s, in.chart, port.Address(), filepath.Join(s.Dir, "certs"))
	in.start(t)
	s.settle(t)
	return in
}

// node makes a node until the end of t. Only its object exists.
func (s *system) node(t testing.TB, name, kubelet string) {
	t.Helper()
	nodes := s.client.CoreV1().Nodes()
	_, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/hostname": name},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nodes.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil && !isNotFound(err) {
			t.Error(err)
		}
	})
	// Controllers write it too, so it does not update the version that was read.
	status := fmt.Sprintf(`{"status": {"nodeInfo": {"kubeletVersion": %q}, "conditions": [{"type": "Ready", "status": "True"}]}}`, kubelet)
	if _, err := nodes.Patch(t.Context(), name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// testEveryManifest asks the API server about everything that the chart renders, with
// each of its value files, and about the manifests made from it.
func (s *system) testEveryManifest(t *testing.T) {
	sources := map[string]manifests{"values.yaml": s.render(t)}
	files, err := filepath.Glob(filepath.Join(s.programs.chart, "ci", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Errorf("the chart has no value files in ci: %v", err)
	}
	own, err := filepath.Glob(filepath.Join("testdata", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, own...) {
		if !strings.HasSuffix(file, "gardener.cloud.yaml") {
			sources[file] = s.render(t, file)
		}
	}
	plain, err := filepath.Glob(filepath.Join(s.deploy, "*.yaml"))
	if err != nil || len(plain) == 0 {
		t.Errorf("there are no plain manifests in deploy: %v", err)
	}
	for _, file := range plain {
		// The chart's own tests compare what kustomize makes of the rest.
		objects := parse(t, file, read(t, file))
		if kind := objects[0].GetKind(); kind != "Kustomization" && kind != "InjectionConfig" {
			sources[file] = objects
		}
	}
	for source, objects := range sources {
		for _, object := range objects {
			if err := s.apply(t.Context(), object, metav1.DryRunAll); err != nil {
				t.Errorf("%s: %v", source, err)
			}
		}
	}
	s.absent(t, s.render(t))
}

// testOwnPods: the Deployment's pods pass Pod Security's strictest level.
func (in *installed) testOwnPods(t *testing.T) {
	want := int(*in.chart.deployment(t).Spec.Replicas)
	eventually(t, "the chart's pods", func(ctx context.Context) error {
		pods, err := in.client.CoreV1().Pods(releaseNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(pods.Items) != want {
			return fmt.Errorf("there are %d, want %d", len(pods.Items), want)
		}
		return nil
	})
}

// absent expects that none of the objects is there.
func (s *system) absent(t testing.TB, objects manifests) {
	t.Helper()
	for _, object := range objects {
		resource, err := s.resource(object)
		if err != nil {
			t.Fatal(err)
		}
		what := object.GetKind() + " " + object.GetName()
		eventually(t, what+" not to be there", func(ctx context.Context) error {
			return mustBeNotFound(resource.Get(ctx, object.GetName(), metav1.GetOptions{}))
		})
	}
}

func mustBeNotFound[T any](_ T, err error) error {
	if isNotFound(err) {
		return nil
	}
	return fmt.Errorf("it is there (%v)", err)
}
