// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// TestPodReachesShootOfAnotherFamily: a pod reaches a shoot of a family for which it has
// no address and no route.
func TestPodReachesShootOfAnotherFamily(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ pod, shoot lab.Families }{
		{lab.IPv4, lab.IPv6},
		{lab.IPv6, lab.IPv4},
		{lab.IPv4, lab.DualStack},
		{lab.IPv6, lab.DualStack},
		{lab.IPv4, lab.IPv4},
		{lab.IPv6, lab.IPv6},
	} {
		for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
			t.Run(fmt.Sprintf("%s pod, %s shoot, %s", c.pod, c.shoot, mode), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, lab.Options{Mode: mode, PodFamilies: c.pod, ShootFamilies: c.shoot})
				t.Run("reaches", r.testKinds)
				t.Run("half-closes", r.testHalfClose)
				if _, err := r.InitRedirect(labtest.Context(t, hang), "verify"); err != nil {
					t.Errorf("verify while the sidecar runs: %v", err)
				}
				if _, err := r.InitRedirect(labtest.Context(t, hang), "clean"); err != nil {
					t.Errorf("clean: %v", err)
				}
				if result, err := r.app(labtest.Context(t, hang), nil, nil, "curl", "-sS", "--connect-timeout", "1",
					lab.URL(kinds(c.shoot.Each()[0])[0], 8080, "/")); err == nil {
					t.Errorf("after clean, the shoot still answers: %q", result.Stdout)
				}
			})
		}
	}
}

// TestIPv6DisabledInTheKernel: with IPv6 switched off in the kernel an IPv4 shoot works.
// An IPv6 shoot is refused with exit code 3 and a sentence, not silently left out.
func TestIPv6DisabledInTheKernel(t *testing.T) {
	t.Run("IPv4 shoot works", func(t *testing.T) {
		r := newRig(t, lab.Options{PodFamilies: lab.IPv4, ShootFamilies: lab.IPv4, DisableIPv6: true})
		r.testKinds(t)
	})
	t.Run("IPv6 shoot exits 3", func(t *testing.T) {
		r := newBareRig(t, lab.Options{PodFamilies: lab.IPv4, DisableIPv6: true})
		result, err := r.InitRedirect(labtest.Context(t, hang), "apply")
		if result.Code != 3 {
			t.Errorf("init-redirect exited with %d (%v), want 3", result.Code, err)
		}
		if !strings.Contains(result.Stderr, "IPv6") || !strings.Contains(result.Stderr, "disable") {
			t.Errorf("init-redirect does not say that IPv6 is disabled: %q", result.Stderr)
		}
		for _, f := range lab.DualStack.Each() {
			if rules := r.rules(t, f); strings.Contains(rules, "PROXY_CLIENT") {
				t.Errorf("%s: the refused apply left rules behind:\n%s", f, rules)
			}
		}
	})
}

func (r *rig) rules(t *testing.T, f lab.Families) string {
	t.Helper()
	path := "iptables-save"
	if f == lab.IPv6 {
		path = "ip6tables-save"
	}
	result, err := r.Pod.Run(labtest.Context(t, hang), lab.Command{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return result.Stdout
}
