// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/alternatives"
	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Folders and namespaces of examples/prometheus.
const (
	examples          = "examples/prometheus"
	examplesInSeed    = "monitoring"
	examplesInShoot   = "example"
	targetsOfExamples = 5
)

// comparison is the three Prometheus of examples/prometheus, which scrape the same
// targets of the shoot.
type comparison struct {
	rig    *clustertest.Rig
	reader *reader
	pods   map[alternatives.Way]*corev1.Pod
}

// newComparison follows the README of examples/prometheus. It returns once each of the
// three has all its targets up. A test that uses it must not run in parallel with others.
func newComparison(t testing.TB) *comparison {
	t.Helper()
	rig := clustertest.New(t)
	rig.InstallWebhook(t)
	rig.ImportImages(t, image.Kubectl)
	ownExamples(t, rig)
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(repositoryRoot(t), examples))); err != nil {
		t.Fatal(err)
	}
	c := &comparison{rig: rig, pods: map[alternatives.Way]*corev1.Pod{}}
	c.reader = newReader(t, rig, folder, t.TempDir(),
		"SHOOT_API=kube-apiserver.shoot.svc", "PROMETHEUS_IMAGE="+image.Reference(image.Prometheus),
		"EXPORTER_IMAGE="+image.Reference(image.NodeExporter), "KUBECTL_IMAGE="+image.Reference(image.Kubectl))
	c.reader.follow(t, examples+"/README.md",
		"Addresses", "Targets", "Through the sidecar", "Through kube-apiserver", "Through kubectl port-forward", "What they scrape")
	for _, way := range alternatives.Ways() {
		c.pods[way] = rig.Seed.AwaitOnePod(t, examplesInSeed, "app=prometheus-"+string(way), clustertest.Ready)
	}
	return c
}

// ownExamples makes the namespace that examples/prometheus requires. What the examples
// make is gone after the test.
func ownExamples(t testing.TB, rig *clustertest.Rig) {
	t.Helper()
	remove := func() {
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.Limit)
		defer cancel()
		removeNamespaces(ctx, t, rig.Seed, []string{examplesInSeed})
		removeNamespaces(ctx, t, rig.Shoot, []string{examplesInShoot})
		for _, way := range alternatives.Ways() { // these objects are in no namespace
			name, rbac := "prometheus-"+string(way), rig.Shoot.Client.RbacV1()
			for _, err := range []error{
				rbac.ClusterRoleBindings().Delete(ctx, name, metav1.DeleteOptions{}),
				rbac.ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{}),
			} {
				if err != nil && !apierrors.IsNotFound(err) {
					t.Error(err)
				}
			}
		}
	}
	remove()
	t.Cleanup(remove)
	rig.Seed.DumpIfFailed(t, examplesInSeed)
	rig.Shoot.DumpIfFailed(t, examplesInShoot)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: examplesInSeed}}
	if _, err := rig.Seed.Client.CoreV1().Namespaces().Create(clustertest.Context(t), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	rig.ClientSecrets(t, examplesInSeed)
}

// scrape is one scrape of a target, as Prometheus has recorded it.
type scrape struct {
	at       time.Time // its begin
	ok       bool
	duration time.Duration
}

// scrapes returns the scrapes of a way in the last 20 minutes, by target, oldest first. A
// target is "JOB INSTANCE".
func (c *comparison) scrapes(ctx context.Context, way alternatives.Way) (map[string][]scrape, error) {
	var data struct {
		Result []struct {
			Metric map[string]string
			Values []lab.Point
		}
	}
	parameters := map[string]string{"query": `{__name__=~"up|scrape_duration_seconds"}[20m]`}
	if err := askPrometheus(ctx, c.rig.Seed, c.pods[way], "/api/v1/query", parameters, &data); err != nil {
		return nil, err
	}
	found := map[string][]scrape{}
	for _, up := range []bool{true, false} { // the durations come second
		for _, series := range data.Result {
			if (series.Metric["__name__"] == "up") != up {
				continue
			}
			target := series.Metric["job"] + " " + series.Metric["instance"]
			for i, sample := range series.Values {
				switch {
				case up:
					found[target] = append(found[target], scrape{at: sample.Time, ok: sample.Value == 1})
				case i < len(found[target]) && found[target][i].at.Equal(sample.Time):
					found[target][i].duration = time.Duration(sample.Value * float64(time.Second))
				default:
					return nil, fmt.Errorf("target %s has a duration of %v and no scrape", target, sample.Time)
				}
			}
		}
	}
	return found, nil
}

// since returns how many scrapes have begun since a time, and how many of them succeeded.
func since(scrapes []scrape, from time.Time) (begun, succeeded int) {
	for _, s := range scrapes {
		if s.at.After(from) {
			begun++
			if s.ok {
				succeeded++
			}
		}
	}
	return begun, succeeded
}

// awaitSuccesses waits until each target of a way has been scraped this many times since
// a time. Those of the jobs to leave out need not be.
func (c *comparison) awaitSuccesses(t testing.TB, way alternatives.Way, from time.Time, wanted int, leaveOut string) {
	t.Helper()
	clustertest.Eventually(t, fmt.Sprintf("%d scrapes of each target by %s", wanted, way), func(ctx context.Context) error {
		found, err := c.scrapes(ctx, way)
		if err != nil {
			return err
		}
		if len(found) != targetsOfExamples {
			return fmt.Errorf("it has %d targets, want %d", len(found), targetsOfExamples)
		}
		for target, scrapes := range found {
			begun, succeeded := since(scrapes, from)
			if succeeded < wanted && jobOf(target) != leaveOut {
				return fmt.Errorf("%s: %d of %d scrapes succeeded", target, succeeded, begun)
			}
		}
		return nil
	})
}

// takeAway follows the last section of the README, and expects that it leaves nothing.
func (c *comparison) takeAway(t testing.TB) {
	t.Helper()
	c.reader.follow(t, examples+"/README.md", "Take it away")
	ctx := clustertest.Context(t)
	var left []string
	for _, way := range alternatives.Ways() {
		name, rbac := "prometheus-"+string(way), c.rig.Shoot.Client.RbacV1()
		_, role := rbac.ClusterRoles().Get(ctx, name, metav1.GetOptions{})
		_, binding := rbac.ClusterRoleBindings().Get(ctx, name, metav1.GetOptions{})
		_, deployment := c.rig.Seed.Client.AppsV1().Deployments(examplesInSeed).Get(ctx, name, metav1.GetOptions{})
		_, secret := c.rig.Seed.Client.CoreV1().Secrets(examplesInSeed).Get(ctx, "shoot-access-"+string(way), metav1.GetOptions{})
		for what, err := range map[string]error{"ClusterRole": role, "ClusterRoleBinding": binding, "Deployment": deployment, "Secret": secret} {
			if !apierrors.IsNotFound(err) {
				left = append(left, fmt.Sprintf("%s of %s (%v)", what, way, err))
			}
		}
	}
	if err := c.rig.Shoot.NamespaceGone(ctx, examplesInShoot); err != nil {
		left = append(left, "namespace "+examplesInShoot)
	}
	if len(left) != 0 {
		t.Error(errors.New("the examples leave something behind"), left)
	}
}
