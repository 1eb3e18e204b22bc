// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// follow returns the path of a TCP connection of a user to an address.
func (p pod) follow(t *testing.T, to string, uid uint32) *Path {
	t.Helper()
	path, err := Follow(t.Context(), Traffic{To: netip.MustParseAddrPort(to), UID: &uid}, p.options(t, BackendAuto))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFollowGivesBothOutcomes: what only the kernel can evaluate is taken both ways, and
// each outcome says what it assumes.
func TestFollowGivesBothOutcomes(t *testing.T) {
	for name, test := range map[string]struct {
		load  func(*testing.T, pod)
		about string
	}{
		"a cgroup of iptables": {func(t *testing.T, p pod) {
			p.iptables(t, IPv4, BackendLegacy, "-t", "mangle", "-A", "OUTPUT", "-m", "cgroup", "--cgroup", "7", "-j", "DROP")
		}, `"-m cgroup --cgroup 7"`},
		"a cgroup of nft": {func(t *testing.T, p pod) {
			p.nft(t, "table inet x {\n chain o {\n type filter hook output priority -150; policy accept;\n meta cgroup 7 drop\n }\n}\n")
		}, "cgroup"},
		"a limit": {func(t *testing.T, p pod) {
			p.nft(t, "table inet x {\n chain o {\n type filter hook output priority -150; policy accept;\n limit rate 1/second drop\n }\n}\n")
		}, "limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dualStackPod(t)
			p.apply(t, configFor("100.64.0.0/12"), BackendNFT)
			p.sidecarListens(t, IPv4)
			test.load(t, p)
			var results []string
			for _, o := range p.follow(t, "100.64.3.7:9100", 1000).Outcomes {
				results = append(results, string(o.Result))
				if len(o.Assumptions) != 1 || !strings.Contains(o.Assumptions[0], test.about) {
					t.Errorf("the outcome %q assumes %q", o.Verdict, o.Assumptions)
				}
			}
			slices.Sort(results)
			if diff := cmp.Diff([]string{"arrives", "dropped"}, results); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			if e := p.explain(t, nil); e.Right || len(e.Problems) == 0 || e.Problems[0].Certain {
				t.Errorf("the explanation is certain: %+v", e.Problems)
			}
			// Another destination meets the rule too, and leaves or is dropped.
			if n := len(p.follow(t, "203.0.113.9:80", 1000).Outcomes); n != 2 {
				t.Errorf("a connection outside of the shoot has %d outcomes", n)
			}
		})
	}
}

// TestFollowWithRulesLikeThoseOfKubeProxy: a Service's address is balanced at random over
// two endpoints. What happens is one of the outcomes, and the shoot is not touched.
func TestFollowWithRulesLikeThoseOfKubeProxy(t *testing.T) {
	for _, b := range bothBackends() {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			c := newCrossing(t)
			c.apply(t, configFor("100.64.0.0/12"), b)
			c.restore(t, IPv4, b, `*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SEP-A - [0:0]
:KUBE-SEP-B - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "ns/svc:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-A
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j RETURN
-A KUBE-SVC-A ! -s 10.96.0.0/16 -d 10.96.0.10/32 -p tcp -m tcp --dport 443 -j KUBE-MARK-MASQ
-A KUBE-SVC-A -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A
-A KUBE-SVC-A -j KUBE-SEP-B
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 203.0.113.1:6443
-A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination 203.0.113.2:6443
COMMIT
`)
			uid := uint32(1000)
			var ends []string
			service := netip.MustParseAddrPort("10.96.0.10:443")
			for range 4 {
				c.predictAndTry(t, Traffic{To: service, UID: &uid})
			}
			for _, o := range c.follow(t, service.String(), uid).Outcomes {
				ends = append(ends, o.Destination.String()+" by "+o.Owner)
				if o.Next != "" {
					t.Errorf("a Service is as it should be, and the advice is %q", o.Next)
				}
			}
			slices.Sort(ends)
			if diff := cmp.Diff([]string{"203.0.113.1:6443 by kube-proxy", "203.0.113.2:6443 by kube-proxy"}, ends); diff != "" {
				t.Errorf("a connection to a Service goes (-want +got):\n%s", diff)
			}
			if got := c.predictAndTry(t, Traffic{To: shootTarget(IPv4), UID: &uid}); !slices.Equal(got, []netfilter.Result{netfilter.Arrives}) {
				t.Errorf("a connection to the shoot is predicted as %v", got)
			}
			if e := c.explain(t, nil); !e.Right {
				t.Errorf("kube-proxy is blamed: %+v", e.Problems)
			}
		})
	}
}

// TestExplainWithoutNft: what cannot be read is named once. It is not called a fault, and a
// connection has an outcome for it.
func TestExplainWithoutNft(t *testing.T) {
	p := dualStackPod(t)
	p.apply(t, configFor("100.64.0.0/12"), BackendNFT)
	p.sidecarListens(t, IPv4)
	p.nft(t, nativeRedirect(IPv4))
	p.nft(t, "table ip other {\n chain post {\n  type filter hook postrouting priority 0; policy accept;\n accept\n }\n}\n")
	t.Setenv("PATH", withoutNft(t))
	if e := p.explain(t, nil); e.Right || len(e.Problems) > 0 || len(e.Notes) != 1 || !strings.HasPrefix(e.Summary, "Nothing wrong was found, but not all rules could be read") || !strings.Contains(e.Notes[0], "2 chains of nftables") {
		t.Errorf("problems %+v, notes %q, summary %q", e.Problems, e.Notes, e.Summary)
	}
	path := p.follow(t, "100.64.3.7:9100", 1000)
	if len(path.Outcomes) != 2 || !path.Outcomes[0].Sidecar || path.Outcomes[1].Result != netfilter.Unpredictable {
		t.Fatalf("the outcomes are %+v", path.Outcomes)
	}
	if diff := cmp.Diff([]string{netfilter.UnreadPasses}, path.Outcomes[0].Assumptions); diff != "" {
		t.Errorf("assumptions (-want +got):\n%s", diff)
	}
}

// withoutNft returns a folder with the programs of iptables and of these tests, and without
// nft.
func withoutNft(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{
		"iptables-nft", "iptables-nft-restore", "iptables-legacy", "iptables-legacy-restore", "ip6tables-nft", "ip6tables-nft-restore",
		"ip6tables-legacy", "ip6tables-legacy-restore", "ip", "nsenter",
	} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
