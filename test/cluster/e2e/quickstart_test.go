// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
)

// TestQuickstartAsWritten follows docs/quickstart.md with two clusters. In the end the
// targets of a Prometheus answer. None of them did before.
func TestQuickstartAsWritten(t *testing.T) {
	rig := clustertest.New(t)
	root := repositoryRoot(t)
	// The clone has the files that the commands need. The release under test need not be
	// the one in its dist/.
	clone := t.TempDir()
	for name, folder := range map[string]string{"docs": filepath.Join(root, "docs"), "dist": releaseFolder(t)} {
		if err := os.Symlink(folder, filepath.Join(clone, name)); err != nil {
			t.Fatal(err)
		}
	}
	importUpstream(clustertest.Context(t), t, rig)
	ownNamespaces(t, rig, []string{"konnectivity", "monitoring", "shoot-proxy"}, []string{"konnectivity"})
	r := newReader(t, rig, clone, t.TempDir(), "PROMETHEUS_IMAGE="+image.Reference(image.Prometheus))
	r.follow(t, "docs/quickstart.md")
}
