// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
)

// as runs fn in the pod as a user and group: sockets that fn makes are theirs.
func (p pod) as(t *testing.T, uid int, fn func()) {
	t.Helper()
	p.Do(t, func() {
		defer func() {
			_ = unix.Setfsuid(0)
			_ = unix.Setfsgid(0)
		}()
		_ = unix.Setfsgid(uid)
		_ = unix.Setfsuid(uid)
		fn()
	})
}

// listensAs listens in the pod as a user, until the test ends.
func (p pod) listensAs(t *testing.T, uid int, address string) net.Listener {
	t.Helper()
	var listener net.Listener
	var err error
	p.as(t, uid, func() { listener, err = net.Listen("tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// sidecarListens listens where the rules redirect to, as the sidecar's user.
func (p pod) sidecarListens(t *testing.T, f Family) {
	t.Helper()
	p.listensAs(t, 14001, netip.AddrPortFrom(family.Loopback(f), 14001).String())
}

// explain explains the rules of both backends.
func (p pod) explain(t *testing.T, cfg *Config) *Explanation {
	t.Helper()
	e, err := Explain(t.Context(), cfg, p.options(t, BackendAuto))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// text returns what a person reads.
func text(t *testing.T, e *Explanation) string {
	t.Helper()
	var out strings.Builder
	if err := e.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestExplainNamesWhatIsWrong: the first lines name the cause, its owner and the cure, and
// blame nothing else.
func TestExplainNamesWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		name    string
		disturb func(*testing.T, pod, Family)
		noProxy bool
		want    []string // in the one problem
		owner   string
		maybe   bool
	}{
		{name: "nothing is wrong"},
		{name: "the sidecar does not run", noProxy: true, want: []string{"SHOOT is redirected to LOOPBACK:14001, where no program listens", "whether the sidecar runs"}, owner: "ours"},
		{
			name: "no rules", disturb: func(t *testing.T, p pod, _ Family) {
				if _, err := Clean(t.Context(), p.options(t, BackendAuto), CleanOptions{}); err != nil {
					t.Fatal(err)
				}
			},
			want: []string{"no rules of ours stand", "call redirect.Apply"},
		},
		{
			name: "a rule is missing", disturb: func(t *testing.T, p pod, f Family) {
				p.iptables(t, f, BackendNFT, "-t", "nat", "-D", ChainOutput, "-o", "lo", "-j", "RETURN")
			},
			want: []string{"our rules are not whole", "table nat chain PROXY_CLIENT_OUTPUT: rule 4 is missing: -o lo -j RETURN", "redirect.Apply to repair"}, owner: "ours",
		},
		{
			// No rule is left that has the proxy's port.
			name: "table nat was flushed", disturb: func(t *testing.T, p pod, f Family) {
				p.iptables(t, f, BackendNFT, "-t", "nat", "-F")
			},
			want: []string{"our rules are not whole", "(nft) table nat: our chains are empty, and no rule leads to them: something flushed the table", "redirect.Apply to repair"}, owner: "ours",
		},
		{
			name: "table nat was deleted", disturb: func(t *testing.T, p pod, f Family) {
				p.iptables(t, f, BackendNFT, "-t", "nat", "-F")
				p.iptables(t, f, BackendNFT, "-t", "nat", "-X")
			},
			want: []string{"our rules are not whole", "(nft) table nat: no chain of ours stands in it", "redirect.Apply to repair"}, owner: "ours",
		},
		{
			name: "all tables were flushed", disturb: func(t *testing.T, p pod, f Family) {
				for _, table := range ourTables() {
					p.iptables(t, f, BackendNFT, "-t", table, "-F")
				}
			},
			want: []string{"our rules are not whole: the chains of all tables are empty: something flushed them", "redirect.Apply to repair"}, owner: "ours",
		},
		{
			name: "the guard was flushed", disturb: func(t *testing.T, p pod, f Family) {
				p.iptables(t, f, BackendNFT, "-F", ChainGuard)
			},
			want: []string{"(nft) table filter: our chains are empty: something flushed them"}, owner: "ours",
		},
		{
			name: "a chain was flushed", disturb: func(t *testing.T, p pod, f Family) {
				p.iptables(t, f, BackendNFT, "-t", "nat", "-F", ChainOutput)
			},
			want: []string{"(nft) table nat chain PROXY_CLIENT_OUTPUT: is empty: something flushed it"}, owner: "ours",
		},
		{
			name: "a mesh in the other backend", disturb: func(t *testing.T, p pod, f Family) {
				p.iptables(t, f, BackendLegacy, "-t", "nat", "-N", "ISTIO_REDIRECT")
				p.iptables(t, f, BackendLegacy, "-t", "nat", "-A", "ISTIO_REDIRECT", "-p", "tcp", "-j", "REDIRECT", "--to-ports", "15001")
				p.iptables(t, f, BackendLegacy, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "ISTIO_REDIRECT")
			},
			want: []string{
				"SHOOT is taken by the rule", "(legacy) table nat chain ISTIO_REDIRECT rule 1: -p tcp -j REDIRECT --to-ports 15001", "(likely of Istio)",
				"is newer than", "call redirect.Verify, which tries it; if it finds a fault: ", "same iptables backend", "excludeOutboundIPRanges: \"SHOOT,",
			},
			owner: "Istio", maybe: true,
		},
		{
			name: "a native table", disturb: func(t *testing.T, p pod, f Family) { p.nft(t, nativeRedirect(f)) },
			want: []string{
				"SHOOT is taken by the rule", "nft table inet mesh chain out: rule with handle 2", "redirect to :15001", "likely of Istio",
			},
			owner: "Istio",
		},
		{
			name: "a native table of an unknown program for one port", disturb: func(t *testing.T, p pod, f Family) {
				p.nft(t, "table inet x {\n chain o {\n type filter hook output priority -150; policy accept;\n tcp dport 9100 drop\n }\n}\n")
			},
			want:  []string{":9100", "is dropped by the rule", "tcp dport 9100 drop", "the program that made nft table inet x"},
			owner: "the program that made nft table inet x",
		},
		{
			name: "no conntrack", disturb: func(t *testing.T, p pod, f Family) {
				p.iptables(t, f, BackendNFT, "-t", "raw", "-A", "OUTPUT", "-d", shootCIDR(f), "-j", "CT", "--notrack")
			},
			want:  []string{"SHOOT is not redirected, because conntrack does not see it: ", "table raw chain OUTPUT rule 1: -d SHOOT -j CT --notrack", "rejected by our guard"},
			owner: "another program",
		},
	} {
		for _, f := range bothFamilies() {
			t.Run(test.name+"/"+string(f), func(t *testing.T) {
				t.Parallel()
				p := dualStackPod(t)
				cfg := configFor(shootCIDR(f))
				p.apply(t, cfg, BackendNFT)
				if !test.noProxy {
					p.sidecarListens(t, f)
				}
				if test.disturb != nil {
					test.disturb(t, p, f)
				}
				before := p.everything(t)
				e := p.explain(t, &cfg)
				if after := p.everything(t); before != after {
					t.Errorf("explaining changed the rules from\n%s\nto\n%s", before, after)
				}
				wantProblem(t, e, f, test.want, test.owner, test.maybe)
			})
		}
	}
}

// wantProblem expects one problem with these texts, or none. maybe is set for one that
// depends on what cannot be told.
func wantProblem(t *testing.T, e *Explanation, f Family, want []string, owner string, maybe bool) {
	t.Helper()
	first, _, _ := strings.Cut(text(t, e), "\n")
	if len(want) == 0 {
		if !e.Right || !strings.HasPrefix(first, "Everything is right: TCP to "+shootCIDR(f)) {
			t.Errorf("all is right, and the first line is %q", first)
		}
		return
	}
	if e.Right || len(e.Problems) != 1 || e.Problems[0].Owner != owner || strings.HasPrefix(first, "MAYBE WRONG: ") != maybe || strings.HasPrefix(first, "WRONG: ") == maybe {
		t.Fatalf("want one problem that is of %q, got %+v", owner, e.Problems)
	}
	loopback := strings.TrimSuffix(netip.AddrPortFrom(family.Loopback(f), 0).String(), ":0")
	said := e.Problems[0].Text + " " + e.Problems[0].Next
	for _, w := range want {
		w = strings.NewReplacer("SHOOT", shootCIDR(f), "LOOPBACK", loopback).Replace(w)
		if !strings.Contains(said, w) {
			t.Errorf("the problem does not say %q: %s", w, said)
		}
	}
}

// TestWhatToDoIsSaidOnce: faults with one cure have one "what to do", and a flushed table is
// one fault. Verify says the same.
func TestWhatToDoIsSaidOnce(t *testing.T) {
	p := dualStackPod(t)
	cfg := configFor(shootCIDR(IPv4), shootCIDR(IPv6))
	p.apply(t, cfg, BackendNFT)
	flushed := func(f Family) string {
		return string(f) + " (nft) table nat: our chains are empty, and no rule leads to them: something flushed the table"
	}
	p.iptables(t, IPv4, BackendNFT, "-t", "nat", "-F")
	want := "WRONG: our rules are not whole: " + flushed(IPv4) + ".\n  what to do: " + "call redirect.Verify, then redirect.Apply to repair\n\n"
	if got := text(t, p.explain(t, nil)); !strings.HasPrefix(got, want) {
		t.Errorf("after a flush of IPv4 the explanation begins with\n%.600s\nwant\n%s", got, want)
	}
	p.iptables(t, IPv6, BackendNFT, "-t", "nat", "-F")
	want = "WRONG: our rules are not whole: " + flushed(IPv4) + ".\nWRONG: our rules are not whole: " + flushed(IPv6) + ".\n  what to do: "
	got := text(t, p.explain(t, nil))
	if !strings.HasPrefix(got, want) || strings.Count(got, "what to do") != 1 {
		t.Errorf("after a flush of both the explanation begins with\n%.600s\nwant\n%s", got, want)
	}
	for _, err := range []error{Verify(t.Context(), cfg, p.options(t, BackendAuto)), second(VerifyInstalled(t.Context(), p.options(t, BackendAuto)))} {
		broken, ok := errors.AsType[*VerifyError](err)
		if !ok || !slices.Contains(broken.Problems, flushed(IPv4)) || !slices.Contains(broken.Problems, flushed(IPv6)) {
			t.Errorf("Verify says %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestExplainComparesWithAConfig: rules for other CIDRs are not what was asked for.
func TestExplainComparesWithAConfig(t *testing.T) {
	p := dualStackPod(t)
	p.apply(t, configFor("100.64.0.0/12"), BackendNFT)
	p.sidecarListens(t, IPv4)
	asked := configFor("100.64.0.0/12", "10.250.0.0/16")
	wantProblem(t, p.explain(t, &asked), IPv4, []string{"asked for 10.250.0.0/16,100.64.0.0/12, and the rules that stand have 100.64.0.0/12"}, "ours", false)
}

// TestEachRuleOfOursHasAMeaning: no rule that Apply writes is a stranger to Explain.
func TestEachRuleOfOursHasAMeaning(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		cfg := configFor(shootCIDR(f))
		cfg.ExcludePorts, cfg.ExcludeUIDs = []uint16{22, 30000, 30001, 30002}, []uint32{1337, 2102}
		cfg.Exclude = prefixes(map[Family]string{IPv4: "100.64.5.0/24", IPv6: "fd00:10:0:5::/64"}[f])
		p.apply(t, cfg, b)
		p.sidecarListens(t, f)
		e := p.explain(t, nil)
		if !e.Right {
			t.Errorf("all is right, and there are the problems %+v", e.Problems)
		}
		var want []string
		rules, err := Build(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range rules.Families[0].Chains {
			for range c.Rules {
				want = append(want, c.Name)
			}
			if c.First {
				want = append(want, "the jump to "+c.Name)
			}
		}
		meanings := map[string]bool{}
		for _, r := range e.Rules {
			if r.Owner != "ours" || strings.Contains(r.Meaning, "none like it") || r.Meaning == "" || r.Packets == nil {
				t.Errorf("%s %d %q, of %s: %q", r.Chain, r.Number, r.Rule, r.Owner, r.Meaning)
			}
			meanings[r.Meaning] = true
		}
		if len(e.Rules) != len(want) {
			t.Errorf("%d rules are explained, and there are %d", len(e.Rules), len(want))
		}
		for _, says := range []string{"TCP to the shoot CIDR " + shootCIDR(f) + " is redirected to the sidecar", "connections of uid 1337 are left alone: it is excluded"} {
			if !meanings[says] {
				t.Errorf("no rule means %q", says)
			}
		}
	})
}
