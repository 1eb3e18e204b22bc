// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// targetFailures are those of destinations.
func targetFailures() []failure {
	return []failure{
		{
			name: "a target that refuses", heading: "The target refuses", target: shootPod(target.ClosedPort),
			step: "dial", cause: "refused", says: []string{"100.64.0.1:7009", "refused"},
		},
		{
			name: "a target that does not answer", heading: "The target does not answer", target: netip.AddrPortFrom(lab.BlackHole(lab.IPv4), target.HTTPPort),
			step: "dial", cause: "timeout", says: []string{"100.64.0.250:8080"},
		},
		{
			name: "a target that does not exist", heading: "The target's address has gone", target: netip.MustParseAddrPort("100.64.77.77:8080"),
			step: "dial", cause: "unreachable", says: []string{"100.64.77.77:8080"},
		},
		{
			name: "a target outside the CIDRs", heading: "The target is outside the CIDRs", target: netip.AddrPortFrom(lab.Outside(lab.IPv4), 80),
			step: "destination", cause: "outside_cidrs", says: []string{"198.51.100.7", "100.64.0.0/16"},
		},
	}
}

// redirectFailures are those of the rules in the pod.
func redirectFailures() []failure {
	table := func(t *testing.T, s *scene) {
		s.nft(t, "table ip stranger { chain out { type nat hook output priority -150; policy accept; ip daddr "+lab.PodCIDR(lab.IPv4)+" tcp dport 1-65535 redirect to :9; }; }")
	}
	return []failure{
		{
			name: "CIDRs that differ", heading: "The CIDRs differ", flags: set("--exclude-cidr=100.64.200.0/24"),
			step: "redirect", cause: "cidrs_differ", says: []string{"same CIDRs"},
			verify: []string{"give both the same"},
		},
		{
			name: "rules that were flushed", heading: "The rules are gone", after: func(t *testing.T, s *scene) { s.iptables(t, lab.IPv4, "-t", "nat", "-F") },
			step: "redirect", cause: "rules_missing", says: []string{"init-redirect apply"},
			verify: []string{"something flushed the table"}, explain: []string{"something flushed the table", "init-redirect apply", "The rules of a running pod"},
		},
		{
			name: "one rule that was deleted", heading: "One rule is missing", after: func(t *testing.T, s *scene) {
				s.iptables(t, lab.IPv4, "-t", "nat", "-D", "PROXY_CLIENT_OUTPUT", "-d", lab.PodCIDR(lab.IPv4), "-p", "tcp", "-j", "PROXY_CLIENT_REDIRECT")
			},
			// The check has the sidecar's user, whose connections no rule redirects.
			verify: []string{"is missing", "100.64.0.0/16"}, explain: []string{"100.64.0.0/16", "is missing", "init-redirect apply"},
		},
		{
			name: "a mesh in the other backend", apply: []string{"--iptables=nft"},
			before: withMesh(istio(), legacy),
			step:   "redirect", cause: "shadowed", says: []string{"init-redirect verify"},
			verify: []string{"ISTIO_REDIRECT"}, explain: []string{"ISTIO_REDIRECT", "likely Istio", "same iptables backend"},
		},
		{
			name: "a mesh with native nftables", heading: "Another program takes the connections",
			before: withMesh(istioNative(), ""),
			step:   "redirect", cause: "shadowed", says: []string{"init-redirect verify"},
			verify: []string{"istio-proxy-nat"}, explain: []string{"istio-proxy-nat", "likely Istio", "excludeOutboundIPRanges"},
		},
		{
			name: "native nftables of another program", heading: "Another program takes one CIDR", before: table,
			step: "redirect", cause: "shadowed", says: []string{"init-redirect verify"},
			verify: []string{"stranger"}, explain: []string{"stranger", "leave out the shoot's CIDRs"},
		},
	}
}

// withMesh writes a mesh's rules, and starts its proxy.
func withMesh(m mesh, b backend) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		t.Helper()
		s.runInit(t, m, b, recommended())
		s.startMeshProxy(t, m)
	}
}

// sidecarFailures are those of the sidecar itself.
func sidecarFailures() []failure {
	return []failure{
		{
			name: "no sidecar", heading: "The sidecar does not run", after: func(_ *testing.T, s *scene) { s.sidecar.Kill() },
			step: "sidecar", cause: "not_running", says: []string{"no sidecar"},
			explain: []string{"no program listens", "whether the sidecar runs"},
		},
		{
			name: "as many connections as may be", heading: "Too many connections are open", flags: set("--max-connections=4"),
			after: func(t *testing.T, s *scene) { s.startQuiet(t, 4) },
			step:  "sidecar", cause: "max_connections", says: []string{"--max-connections"},
		},
		{
			name: "full buffers", heading: "Apps do not read", flags: set("--total-buffer=32MiB"),
			after: func(t *testing.T, s *scene) { s.fillBuffers(t, 32<<20) },
			step:  "sidecar", cause: "buffers_full", says: []string{"--total-buffer"},
		},
	}
}

// fillBuffers makes apps that do not read. What is held for them then nearly reaches
// --total-buffer.
func (r *rig) fillBuffers(t *testing.T, total int) {
	t.Helper()
	const (
		kernel = 800_000 // bytes of each that the kernel takes, at most
		most   = 60
	)
	nearly, each := total/32*31, min(total/8, 12<<20) // less than --connection-buffer
	held := func() int {
		return int(r.metrics(t).Sum("proxy_client_buffered_bytes"))
	}
	now := held()
	for i := 0; now < nearly; i++ {
		if i == most {
			t.Fatalf("%d bytes are held, want %d", now, nearly)
		}
		conn := r.open(t, lab.ShootPod(lab.IPv4, 2), target.HTTPPort)
		if _, err := fmt.Fprintf(conn, "GET /file?bytes=%d HTTP/1.0\r\n\r\n", kernel+min((nearly-now)/2+100_000, each)); err != nil {
			t.Fatal(err)
		}
		// The kernel may take all of it. Then the next one goes on.
		before := now
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_ = lab.Poll(ctx, "bytes to be held for an app", func(context.Context) error {
			last := now
			if now = held(); now == before || now != last {
				return fmt.Errorf("%d bytes are held, and %d were before", now, last)
			}
			return nil
		})
		cancel()
	}
}

// nft changes the pod's native nftables rules.
func (s *scene) nft(t *testing.T, script string) {
	t.Helper()
	if _, err := s.Pod.Run(labtest.Context(t, hang), lab.Command{Path: "nft", Args: []string{script}}); err != nil {
		t.Fatal(err)
	}
}
