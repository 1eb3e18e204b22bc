// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"path/filepath"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/cluster/quickstart"
)

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
	r := newReader(t, rig, root, t.TempDir(), "PROMETHEUS_IMAGE="+image.Reference(image.Prometheus))
	r.follow(t, "docs/quickstart.md")
}
