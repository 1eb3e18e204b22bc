// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/cluster/alternatives"
	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// scrapesWhileDead is how often each target is scraped through the sidecar while
// kube-apiserver is dead.
const scrapesWhileDead = 8

// jobOf returns the job of a target "JOB INSTANCE".
func jobOf(target string) string {
	job, _, _ := strings.Cut(target, " ")
	return job
}

// TestAlternativesWhileKubeAPIServerIsDead: three Prometheus scrape the same targets of
// the shoot. After its kube-apiserver was killed, those behind the sidecar are scraped on
// and on. In the same time each scrape through kube-apiserver's proxy and through kubectl
// port-forward fails. When kube-apiserver is back, all three scrape again.
//
// The token for kube-apiserver's proxy can do more than scrape: it runs commands in pods.
//
// A kubelet asks kube-apiserver who its client is, and remembers the answer for two
// minutes. So its cAdvisor may or may not be scraped meanwhile.
func TestAlternativesWhileKubeAPIServerIsDead(t *testing.T) {
	c := newComparison(t)
	c.wantCommandsOnlyBy(t, alternatives.Proxy)
	_, gone := killKubeAPIServer(t, c.rig)
	c.awaitSuccesses(t, alternatives.Sidecar, gone, scrapesWhileDead, alternatives.Kubelet)
	for _, way := range []alternatives.Way{alternatives.Proxy, alternatives.PortForward} {
		found, err := c.scrapes(clustertest.Context(t), way)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != targetsOfExamples {
			t.Errorf("%s has %d targets, want %d", way, len(found), targetsOfExamples)
		}
		for target, scrapes := range found {
			begun, succeeded := since(scrapes, gone)
			if begun == 0 || succeeded != 0 {
				t.Errorf("%s, target %s: %d of %d scrapes succeeded without kube-apiserver, want none of some", way, target, succeeded, begun)
			}
		}
	}
	ready := startKubeAPIServer(t, c.rig)
	for _, way := range alternatives.Ways() {
		c.awaitSuccesses(t, way, ready, 1, "")
	}
	restartShootsPrograms(t, c.rig)
	c.takeAway(t)
}
