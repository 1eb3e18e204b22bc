// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/cluster/quickstart"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/markdown"
)

// documentLimit guards against hanging: a document takes a minute on two idle cores.
const documentLimit = 10 * time.Minute

// releaseVersion is the one that the documents have in their commands.
const releaseVersion = "0.1.0"

// reader is a person who follows a document, with a release and the two clusters.
type reader struct {
	rig    *clustertest.Rig
	root   string // of the repository
	runner *markdown.Runner
}

// newReader returns one who works in a folder, with further variables.
func newReader(t *testing.T, rig *clustertest.Rig, folder string, environment ...string) *reader {
	t.Helper()
	home := t.TempDir()
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

// follow does what sections of a document tell; all of them if none is named.
func (r *reader) follow(t *testing.T, document string, sections ...string) {
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
	ctx, cancel := context.WithTimeout(t.Context(), documentLimit)
	defer cancel()
	if err := r.runner.Run(ctx, steps); err != nil {
		t.Fatal(err)
	}
}

// ownNamespaces has what a document makes removed at the end of the test: helm's release,
// and these namespaces. What other tests have installed is removed first; the test fails at
// once if one of the namespaces is there all the same.
func ownNamespaces(t *testing.T, rig *clustertest.Rig, inSeed, inShoot []string) {
	t.Helper()
	rig.UninstallWebhook(t)
	all := map[*clustertest.Cluster][]string{rig.Seed: inSeed, rig.Shoot: inShoot}
	for c, names := range all {
		for _, name := range names {
			if err := absent(t.Context(), c, name); err != nil {
				t.Fatalf("the document makes namespace %s of the %s: %v", name, c.Name, err)
			}
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.Limit)
		defer cancel()
		uninstall(ctx, t, rig) // first: it needs its namespace
		for c, names := range all {
			for _, name := range names {
				// That it is gone is checked below.
				_ = c.Client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
			}
			for _, name := range names {
				err := lab.Poll(ctx, "namespace "+name+" to end", func(ctx context.Context) error { return absent(ctx, c, name) })
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
	for c, names := range all {
		for _, name := range names {
			c.DumpIfFailed(t, name)
		}
	}
}

// absent fails if a namespace is there.
func absent(ctx context.Context, c *clustertest.Cluster, name string) error {
	switch _, err := c.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	default:
		return errors.New("it is there")
	}
}

// uninstall removes helm's release, if there is one.
func uninstall(ctx context.Context, t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	helm := exec.CommandContext(ctx, filepath.Join(rig.State.Binaries, "tools-kube", "helm"),
		"uninstall", "proxy-client", "--namespace=shoot-proxy", "--ignore-not-found", "--wait")
	helm.Env = append(os.Environ(), "KUBECONFIG="+rig.Seed.Kubeconfig)
	if out, err := helm.CombinedOutput(); err != nil {
		t.Errorf("helm uninstall: %v\n%s", err, out)
	}
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	root, err := lab.RepositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// releaseFolder is what `make release` has made. Without it the test is skipped, but for
// CI, which sets REQUIRE_ROOT=1.
func releaseFolder(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(repositoryRoot(t), "dist")
	if _, err := os.Stat(filepath.Join(folder, "proxy-client-"+releaseVersion+".tgz")); err != nil {
		complain := t.Skipf
		if os.Getenv("REQUIRE_ROOT") == "1" {
			complain = t.Fatalf
		}
		complain("%s has no release to install: run `make release VERSION=%s` first: %v", t.Name(), releaseVersion, err)
	}
	return folder
}

// A person who follows docs/quickstart.md has two clusters, and in the end a Prometheus
// whose targets answer, which none did before.
func TestQuickstartAsWritten(t *testing.T) {
	rig := clustertest.New(t)
	releaseFolder(t)
	root := repositoryRoot(t)
	archives, err := quickstart.Archives(rig.State.Binaries, filepath.Join(root, "docs", "quickstart"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx := clustertest.Context(t)
	if err := rig.Seed.Node.Import(ctx, archives.Server); err != nil {
		t.Fatal(err)
	}
	if err := rig.Shoot.Node.Import(ctx, archives.Agent); err != nil {
		t.Fatal(err)
	}
	ownNamespaces(t, rig, []string{"konnectivity", "monitoring", "shoot-proxy"}, []string{"konnectivity"})
	r := newReader(t, rig, root, "PROMETHEUS_IMAGE="+image.Reference(image.Prometheus))
	r.follow(t, "docs/quickstart.md")
}
