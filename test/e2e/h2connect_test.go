// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"syscall"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestH2ConnectProxy: through Node.js' HTTP/2 as a standard proxy, the apps get every byte,
// half-closes and the right end. An app that does not read is not reset, nothing is held for
// it beyond its window, and others do not notice it. Refusals have their reasons. If the
// proxy is killed, the app gets a reset.
func TestH2ConnectProxy(t *testing.T) {
	t.Parallel()
	r := newBareRig(t, lab.Options{})
	kill := standardProxy{kind: lab.NodeHTTP2}.start(t, r)
	r.apply(t)
	r.start(t, "--proxy-server="+r.ConnectProxyAddress(), "--mode=h2-connect", "--dial-timeout=3s")
	r.testKinds(t)
	r.testShortStandardConnections(t)
	r.transferBothWays(t, "Node.js", scale(16<<20))
	r.wantStalledAppKept(t)
	r.wantHalfClose(t, true)
	r.wantRefusal(t, target.ClosedPort, "refused")
	r.wantRefusal(t, lab.ForbiddenPort, "forbidden")
	r.wantSilentTarget(t)
	before := r.metrics(t)
	x := r.startRaw(t, lab.ShootPod(lab.IPv6, 1))
	kill()
	if err := x.finish(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the proxy died and the download ended with error %v, want a reset", err)
	}
	r.wantCounted(t, "proxy_client_close_total", before, "tunnel_broken")
}
