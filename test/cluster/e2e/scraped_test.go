// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// TestShootIsScrapedAsWritten follows docs/install.md to its end. The Prometheus finds
// kubelets, cAdvisors and pods through the shoot's kube-apiserver, and all of them
// answer. Then it follows docs/vpn.md: the Prometheus gets a second replica, and moves to
// proxy-client and back, one replica after the other.
func TestShootIsScrapedAsWritten(t *testing.T) {
	rig := clustertest.New(t)
	r, _ := newInstaller(t, rig, t.TempDir(), "SHOOT_API=kube-apiserver.shoot.svc", "MIN_READY_SECONDS=2")
	r.follow(t, "docs/install.md", "4. The proxy-server", "5. The webhook", "6. The namespace")
	// A reader without a Prometheus goes on with the next section, and comes back.
	r.follow(t, "docs/install.md", "Prometheus that finds its targets in the shoot", "7. The label", "8. Does it work?")
	r.moves(t)
}
