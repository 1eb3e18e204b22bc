// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/markdown"
)

// documentLimit guards against hanging: a document takes a minute on two idle cores.
const documentLimit = 10 * time.Minute

// releaseVersion is the version in the documents' commands.
const releaseVersion = "0.1.0"

// reader is a person who follows a document, with a release and the two clusters.
type reader struct {
	rig    *clustertest.Rig
	root   string // of the repository
	runner *markdown.Runner
}

// newReader returns a reader who works in a folder, with a home and further variables.
func newReader(t testing.TB, rig *clustertest.Rig, folder, home string, environment ...string) *reader {
	t.Helper()
	environment = append(append(os.Environ(),
		"PATH="+filepath.Join(rig.State.Binaries, "kube")+":"+filepath.Join(rig.State.Binaries, "tools-kube")+":"+os.Getenv("PATH"),
		"KUBECONFIG="+rig.Seed.Kubeconfig, "SEED_KUBECONFIG="+rig.Seed.Kubeconfig, "SHOOT_KUBECONFIG="+rig.Shoot.Kubeconfig,
		"HOME="+home, "TMPDIR="+home, "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home,
	), environment...)
	runner, err := markdown.NewRunner(folder, environment, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := runner.Close(); err != nil {
			t.Error(err)
		}
	})
	return &reader{rig: rig, root: repositoryRoot(t), runner: runner}
}

// follow does what sections of a document say; all of them if none is named.
func (r *reader) follow(t testing.TB, document string, sections ...string) {
	t.Helper()
	r.do(t, r.told(t, document, sections...))
}

// told returns what sections of a document say.
func (r *reader) told(t testing.TB, document string, sections ...string) []markdown.Step {
	t.Helper()
	d, err := markdown.Read(filepath.Join(r.root, document))
	if err != nil {
		t.Fatal(err)
	}
	var steps []markdown.Step
	if len(sections) == 0 {
		if steps, err = d.Steps(); err != nil {
			t.Fatal(err)
		}
	}
	for _, title := range sections {
		section, err := d.Section(title)
		if err != nil {
			t.Fatal(err)
		}
		if len(section) == 0 {
			t.Fatalf("%s tells nothing to do below %q", document, title)
		}
		steps = append(steps, section...)
	}
	return steps
}

func (r *reader) do(t testing.TB, steps []markdown.Step) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), documentLimit)
	defer cancel()
	if err := r.runner.Run(ctx, steps); err != nil {
		t.Fatal(err)
	}
}

// ownNamespaces removes what a document makes, now and at the end of the test: helm's
// release and these namespaces. The test must therefore not run in parallel with others,
// which may have the webhook installed.
func ownNamespaces(t testing.TB, rig *clustertest.Rig, inSeed, inShoot []string) {
	t.Helper()
	remove := func() {
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.Limit)
		defer cancel()
		removeNamespaces(ctx, t, rig.Seed, inSeed)
		removeNamespaces(ctx, t, rig.Shoot, inShoot)
	}
	rig.UninstallWebhook(t) // the webhook of other tests
	remove()
	t.Cleanup(remove)
	rig.UninstallWebhookAtEnd(t) // before remove: helm's release is in its namespace
	for _, name := range inSeed {
		rig.Seed.DumpIfFailed(t, name)
	}
	for _, name := range inShoot {
		rig.Shoot.DumpIfFailed(t, name)
	}
}

// removeNamespaces deletes namespaces and returns once they are gone.
func removeNamespaces(ctx context.Context, t testing.TB, c *clustertest.Cluster, names []string) {
	t.Helper()
	for _, name := range names {
		if err := c.Client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
	for _, name := range names {
		err := lab.Poll(ctx, "namespace "+name+" to end", func(ctx context.Context) error {
			return c.NamespaceGone(ctx, name)
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func repositoryRoot(t testing.TB) string {
	t.Helper()
	root, err := lab.RepositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// releaseFolder returns the folder that `make release` has made. Without it the test is
// skipped. In CI, which sets REQUIRE_ROOT=1, it fails instead.
func releaseFolder(t testing.TB) string {
	t.Helper()
	folder, err := lab.ReleaseFolder()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "proxy-client-"+releaseVersion+".tgz")); err != nil {
		labtest.Require(t, fmt.Errorf("%[1]s has no release to install: run `make release VERSION=%[2]s DIST=%[1]s` first: %[3]w", folder, releaseVersion, err))
	}
	return folder
}
