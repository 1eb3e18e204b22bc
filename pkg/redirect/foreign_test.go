// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/nftables"
)

// foreignPort is the port to which another program redirects.
const foreignPort = "15001"

// foreignListener accepts the connections that another program redirects, and closes them.
func (p pod) foreignListener(t *testing.T, f Family) {
	t.Helper()
	var listener net.Listener
	var err error
	p.Do(t, func() { listener, err = net.Listen("tcp", net.JoinHostPort(family.Loopback(f).String(), foreignPort)) })
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
}

// nativeRedirect returns an nft table that redirects the shoot's connections before table nat
// of iptables does.
func nativeRedirect(f Family) string {
	protocol := "ip"
	if f == IPv6 {
		protocol = "ip6"
	}
	return "table inet mesh {\n chain out {\n  type nat hook output priority -110; policy accept;\n" +
		"  " + protocol + " daddr " + shootCIDR(f) + " tcp dport 1-65535 redirect to :" + foreignPort + "\n }\n}\n"
}

// TestVerifyNamesWhatIsInTheWayOfTheShoot: rules of other programs can take the shoot's
// traffic and leave our rules and the probe address alone. Verify has to notice that, and
// name these rules.
func TestVerifyNamesWhatIsInTheWayOfTheShoot(t *testing.T) {
	for _, test := range []struct {
		name    string
		backend Backend // of our rules
		disturb func(*testing.T, pod, Family)
		want    []string
	}{
		{"raw NOTRACK", BackendNFT, func(t *testing.T, p pod, f Family) {
			p.iptables(t, f, BackendNFT, "-t", "raw", "-A", "OUTPUT", "-d", shootCIDR(f), "-j", "CT", "--notrack")
		}, []string{"(nft) table raw chain OUTPUT: -d SHOOT -j"}},
		{"raw NOTRACK of the other backend", BackendNFT, func(t *testing.T, p pod, f Family) {
			p.iptables(t, f, BackendLegacy, "-t", "raw", "-A", "OUTPUT", "-d", shootCIDR(f), "-j", "CT", "--notrack")
		}, []string{"(legacy) table raw chain OUTPUT: -d SHOOT -j"}},
		{"mangle DROP", BackendLegacy, func(t *testing.T, p pod, f Family) {
			p.iptables(t, f, BackendLegacy, "-t", "mangle", "-A", "OUTPUT", "-d", shootCIDR(f), "-j", "DROP")
		}, []string{"(legacy) table mangle chain OUTPUT: -d SHOOT -j DROP"}},
		{"mangle DROP in a chain behind a jump", BackendNFT, func(t *testing.T, p pod, f Family) {
			p.iptables(t, f, BackendNFT, "-t", "mangle", "-N", "MESH")
			p.iptables(t, f, BackendNFT, "-t", "mangle", "-A", "MESH", "-p", "tcp", "-j", "DROP")
			p.iptables(t, f, BackendNFT, "-t", "mangle", "-A", "OUTPUT", "-d", shootCIDR(f), "-j", "MESH")
		}, []string{"(nft) table mangle chain MESH: -p tcp -j DROP"}},
		{"REDIRECT of legacy beside ours of nft", BackendNFT, func(t *testing.T, p pod, f Family) {
			p.foreignListener(t, f)
			p.iptables(t, f, BackendLegacy, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", shootCIDR(f), "-j", "REDIRECT", "--to-ports", foreignPort)
		}, []string{"(legacy) table nat chain OUTPUT: -d SHOOT -p tcp -j REDIRECT --to-ports 15001"}},
		{"a native table that redirects first", BackendNFT, func(t *testing.T, p pod, f Family) {
			p.foreignListener(t, f)
			p.nft(t, nativeRedirect(f))
		}, []string{"nft table inet mesh chain out: rule with handle", "(redirect)"}},
		// The connection is refused, and proxy-client is not the cause.
		{
			"a native table that redirects first to where nothing listens", BackendNFT, func(t *testing.T, p pod, f Family) { p.nft(t, nativeRedirect(f)) },
			[]string{"connection refused", "a rule of another program takes the connection", "nft table inet mesh chain out", "(redirect)"},
		},
		{"a verdict map", BackendNFT, func(t *testing.T, p pod, f Family) {
			family := map[Family]string{IPv4: "ip", IPv6: "ip6"}[f]
			p.nft(t, "table "+family+" mesh {\n map m {\n  type "+strings.ToLower(string(f))+"_addr : verdict; flags interval;\n  elements = { "+shootCIDR(f)+" : drop }\n }\n"+
				" chain out {\n  type filter hook output priority -150; policy accept;\n  "+family+" daddr vmap @m\n }\n}\n")
		}, []string{"a rule of another program drops the connection", "table mesh chain out (hook output, priority -150)"}},
		{"where it arrives", BackendNFT, func(t *testing.T, p pod, _ Family) {
			p.nft(t, "table inet mesh {\n chain in {\n  type filter hook input priority -150; policy accept;\n  tcp dport 14001 drop\n }\n}\n")
		}, []string{"a rule of another program drops the connection", "table mesh chain in (hook input, priority -150)"}},
	} {
		for _, f := range bothFamilies() {
			t.Run(test.name+"/"+string(f), func(t *testing.T) {
				t.Parallel()
				p := dualStackPod(t)
				cfg := configFor(shootCIDR(f))
				p.apply(t, cfg, test.backend)
				// Rules of others for other destinations are not named.
				p.iptables(t, f, BackendNFT, "-t", "mangle", "-A", "OUTPUT", "-d", shootlessTarget(f).Addr().String(), "-j", "DROP")
				if err := p.verify(t, cfg, test.backend); err != nil {
					t.Fatalf("verify before: %v", err)
				}
				test.disturb(t, p, f)
				before := p.everything(t)
				err := p.verify(t, cfg, test.backend)
				var found *VerifyError
				if !errors.As(err, &found) {
					t.Fatalf("verify says %v, though the shoot's traffic goes elsewhere", err)
				}
				for _, want := range test.want {
					if want = strings.ReplaceAll(want, "SHOOT", shootCIDR(f)); !strings.Contains(err.Error(), want) {
						t.Errorf("verify does not say %q: %v", want, err)
					}
				}
				for _, lacks := range []string{"is proxy-client running", "run `init-redirect verify`", "the nat rules are missing", "repairs rules", shootlessTarget(f).Addr().String()} {
					if strings.Contains(err.Error(), lacks) {
						t.Errorf("verify says %q, which leads the wrong way: %v", lacks, err)
					}
				}
				if diff := cmp.Diff(before, p.everything(t)); diff != "" {
					t.Errorf("verify changed something (-before +after):\n%s", diff)
				}
			})
		}
	}
}

// TestVerifyProbesEachCIDR: each CIDR has a probe of its own, at an address that is not
// excluded.
func TestVerifyProbesEachCIDR(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		cidrs := map[Family][]string{
			IPv4: {"100.64.0.0/12", "10.250.0.0/16", "172.30.0.7/32", "172.31.0.4/30"},
			IPv6: {"fd00:10::/48", "fd00:20::/64", "fd00:30::7/128", "fd00:40::4/126"},
		}[f]
		cfg := configFor(cidrs...)
		cfg.Exclude = prefixes(map[Family]string{IPv4: "10.250.0.0/24", IPv6: "fd00:20::/80"}[f])
		p.apply(t, cfg, b)
		for _, alone := range []string{cidrs[0], cidrs[1], cidrs[3]} {
			p.iptables(t, f, b, "-t", "raw", "-A", "OUTPUT", "-d", alone, "-j", "CT", "--notrack")
			var found *VerifyError
			if err := p.verify(t, cfg, b); !errors.As(err, &found) || !strings.Contains(err.Error(), alone) {
				t.Errorf("verify says %v, though conntrack does not see %s", err, alone)
			}
			p.iptables(t, f, b, "-t", "raw", "-F")
			if err := p.verify(t, cfg, b); err != nil {
				t.Errorf("verify after the rule is gone: %v", err)
			}
		}
	})
}

func TestNativeRulesAreRead(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("SKIPPED: no nft")
	}
	p := newPod(t)
	p.nft(t, `table inet a {
		set s { type ipv4_addr; flags interval; elements = { 100.64.0.0/10 } }
		chain sub {
			tcp dport 80 drop
		}
		chain out { type filter hook output priority 0;
			ip daddr 100.64.0.1 reject
			ip daddr { 10.0.0.0/8, 100.64.5.0-100.64.6.255 } drop
			ip daddr != 100.64.0.0/12 drop
			ip daddr @s drop
			ip6 daddr fd00:10::/48 drop
			ip daddr 192.168.0.0/16 drop
			ip daddr 100.64.0.0/12 accept
			jump sub
		}
	}
	table ip b {
		chain in {
			type filter hook input priority 0
			ip daddr 100.64.0.0/12 drop
		}
	}
	table ip6 c {
		chain out {
			type filter hook output priority 0
			drop
		}
	}
	table ip nat {
		chain OUTPUT {
			type nat hook output priority -100
			ip daddr 100.64.0.0/12 tcp dport 80 redirect to :1
		}
		chain out {
			type nat hook output priority -99
			ip daddr 100.64.0.0/12 tcp dport 80 redirect to :1
		}
	}
	`)
	out, err := p.Command("nft", "-j", "list", "ruleset").Output()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := nftables.ParseRules(out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rules {
		where, _, _ := strings.Cut(r.Where, ": rule")
		got = append(got, where+" "+[]string{"nothing", "all", "shoot"}[nftTouches(r, IPv4, []netip.Prefix{netip.MustParsePrefix("100.64.0.0/12")})])
	}
	want := []string{
		"nft table inet a chain sub all",
		"nft table inet a chain out shoot",
		"nft table inet a chain out shoot",
		"nft table inet a chain out all",
		"nft table inet a chain out all",
		"nft table inet a chain out nothing",
		"nft table inet a chain out nothing",
		"nft table ip6 c chain out nothing",
		"nft table ip nat chain out shoot", // iptables shows OUTPUT itself
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("native rules (-want +got):\n%s", diff)
	}
}

// TestNativeChainsAreNamedWithoutNft: in an image without nft at least the chain is named.
func TestNativeChainsAreNamedWithoutNft(t *testing.T) {
	for _, f := range bothFamilies() {
		p := dualStackPod(t)
		p.apply(t, configFor(shootCIDR(f)), BackendNFT)
		p.nft(t, nativeRedirect(f))
		n := fakeNamespace(t, BackendAuto, nil)
		n.nftRuleset = func(context.Context) ([]byte, error) { return nil, exec.ErrNotFound }
		var got []string
		p.Do(t, func() {
			for _, r := range n.nftRules(t.Context()) {
				got = append(got, r.Where)
			}
		})
		if len(got) != 1 || !strings.Contains(got[0], "nft inet: table mesh chain out (hook output, priority -110)") {
			t.Errorf("%s: without nft the chain in the way is %q, want table mesh alone", f, got)
		}
	}
}
