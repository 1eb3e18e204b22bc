// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// predicted is a part of what `dump --to` says of a way that a connection can go.
type predicted struct {
	Result      string
	Sidecar     bool
	Verdict     string
	Destination netip.AddrPort
	Owner       string
}

// predict asks what would become of a connection.
func (r *rig) predict(t *testing.T, to netip.AddrPort, flags ...string) []predicted {
	t.Helper()
	result, err := r.InitRedirect(labtest.Context(t, hang), "dump", append([]string{"--output=json", "--to=" + to.String()}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	var dumped struct {
		Path struct{ Outcomes []predicted }
	}
	if err := json.Unmarshal([]byte(result.Stdout), &dumped); err != nil {
		t.Fatal(err)
	}
	return dumped.Path.Outcomes
}

// wantPredicted expects that a connection is predicted as wantShares has seen it. Where a
// rule has a condition that only the kernel can evaluate, one of the outcomes has to fit.
func (r *rig) wantPredicted(t *testing.T, m mesh, to netip.AddrPort, fits func(predicted) bool, flags ...string) {
	t.Helper()
	outcomes := r.predict(t, to, flags...)
	if !slices.ContainsFunc(outcomes, fits) || len(outcomes) > 2 {
		t.Errorf("%s: a connection to %s with %q is predicted as %+v", m.name, to, flags, outcomes)
	}
	if len(outcomes) > 1 {
		t.Logf("%s: a connection to %s with %q has the outcomes %+v", m.name, to, flags, outcomes)
	}
}

// wantSharesPredicted is wantShares as `dump --to` predicts it.
func (r *rig) wantSharesPredicted(t *testing.T, m mesh, f lab.Families) {
	t.Helper()
	ours := func(p predicted) bool { return p.Sidecar }
	arrives := func(port int) func(predicted) bool {
		return func(p predicted) bool {
			return p.Result == "arrives" && int(p.Destination.Port()) == port && !p.Sidecar
		}
	}
	leaves := func(p predicted) bool { return p.Result == "leaves" }
	asMesh := fmt.Sprintf("--uid=%d", m.proxy.uid)
	shoot := netip.AddrPortFrom(lab.ShootPod(f, 1), target.HTTPPort)
	outside := "--from=" + greeter(f).Addr().String()
	r.wantPredicted(t, m, shoot, ours)
	r.wantPredicted(t, m, greeter(f), arrives(m.outboundPort))
	r.wantPredicted(t, m, netip.AddrPortFrom(lab.PodAddress(f), 8080), arrives(m.inboundPort), outside)
	if f != lab.IPv4 {
		return // the rules for both families are alike, and each prediction takes a while
	}
	r.wantPredicted(t, m, shoot, ours, asMesh)
	r.wantPredicted(t, m, greeter(f), leaves, asMesh)
	r.wantPredicted(t, m, netip.AddrPortFrom(lab.PodAddress(f), lab.HealthPort), arrives(lab.HealthPort), outside)
	r.wantPredicted(t, m, frontend(), leaves, "--uid=14001")
}

// wantExplained expects that the first line of `dump --explain` begins like this, and that
// the lines before the rules have these words.
func (r *rig) wantExplained(t *testing.T, first string, words ...string) {
	t.Helper()
	result, err := r.InitRedirect(labtest.Context(t, hang), "dump", "--explain")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(result.Stdout, "\nOUR RULES")
	if !strings.HasPrefix(head, first) {
		t.Errorf("dump --explain begins with %q, want %q", head, first)
	}
	for _, word := range words {
		if !strings.Contains(head, word) {
			t.Errorf("dump --explain does not say %q: %s", word, head)
		}
	}
}
