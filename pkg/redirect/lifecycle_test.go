// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// richConfig returns a configuration that makes a rule of every kind.
func richConfig(f Family) Config {
	cfg := configFor(shootCIDR(f))
	cfg.ExcludePorts, cfg.ExcludeUIDs = []uint16{22, 9443, 30000, 30001, 30002, 30003}, []uint32{2000}
	cfg.Exclude = prefixes("100.64.0.10/32")
	if f == IPv6 {
		cfg.Exclude = prefixes("fd00:10:0:1::/64")
	}
	return cfg
}

// onEach runs a test for each backend and family, all in parallel.
func onEach(t *testing.T, test func(*testing.T, Backend, Family)) {
	for _, b := range bothBackends() {
		for _, f := range bothFamilies() {
			t.Run(fmt.Sprint(b, "/", f), func(t *testing.T) {
				t.Parallel()
				test(t, b, f)
			})
		}
	}
}

func TestApplyVerifyCleanLeavesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		cfg := richConfig(f)
		// Rules of other programs stay as they are, in all tables.
		p.iptables(t, f, b, "-t", "nat", "-A", "OUTPUT", "-p", "udp", "-d", shootCIDR(f), "-m", "comment", "--comment", "not ours", "-j", "ACCEPT")
		p.iptables(t, f, b, "-N", "MESH")
		p.iptables(t, f, b, "-A", "MESH", "-j", "RETURN")
		before := p.everything(t)

		if err := p.verify(t, cfg, b); err == nil {
			t.Error("verify passes where nothing was applied")
		}
		if result := p.apply(t, cfg, b); !result.Changed() {
			t.Error("apply says that it changed nothing")
		}
		if err := p.verify(t, cfg, b); err != nil {
			t.Errorf("verify after apply: %v", err)
		}
		p.sidecar(t, f)
		p.reaches(t, shootTarget(f))

		counted := p.rules(t, f, b, "-c")
		if result := p.apply(t, cfg, b); result.Changed() {
			t.Errorf("apply over the same rules changed something:\n%s", result)
		}
		checkCounters(t, counted, p.rules(t, f, b, "-c"))

		for range 2 { // the second time there is nothing to clean
			if _, err := Clean(t.Context(), p.options(t, BackendAuto), CleanOptions{}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, p.everything(t)); diff != "" {
				t.Errorf("clean does not restore the pod (-before +after):\n%s", diff)
			}
		}
	})
}

// checkCounters fails the test unless the rules are the same and no counter is lower than
// before. Counters may grow: by the end of a connection, or by neighbour discovery.
func checkCounters(t *testing.T, before, after string) {
	t.Helper()
	rules := func(text string) (rules []string, packets []int) {
		for line := range strings.Lines(text) {
			rule, n := line, 0
			if strings.HasPrefix(line, "[") {
				var counters string
				counters, rule, _ = strings.Cut(line, "] ")
				count, _, _ := strings.Cut(counters[1:], ":")
				n, _ = strconv.Atoi(count)
			} else if strings.HasPrefix(line, ":") {
				rule, _, _ = strings.Cut(line, " [")
			}
			rules, packets = append(rules, rule), append(packets, n)
		}
		return rules, packets
	}
	rulesBefore, packetsBefore := rules(before)
	rulesAfter, packetsAfter := rules(after)
	if diff := cmp.Diff(rulesBefore, rulesAfter); diff != "" {
		t.Fatalf("apply over the same rules changed them (-before +after):\n%s", diff)
	}
	counting := 0
	for i := range packetsBefore {
		if packetsBefore[i] > 0 {
			counting++
		}
		if packetsAfter[i] < packetsBefore[i] {
			t.Errorf("apply over the same rules took the counter of %q from %d to %d", rulesBefore[i], packetsBefore[i], packetsAfter[i])
		}
	}
	if counting < 4 {
		t.Errorf("only %d rules counted anything, so this proves nothing:\n%s", counting, before)
	}
}

// tampering returns changes of one rule of a chain. Rules are counted from 1.
func tampering() map[string]func(t *testing.T, run func(args ...string) string, chain string, i int) {
	return map[string]func(*testing.T, func(...string) string, string, int){
		"deleted": func(_ *testing.T, run func(...string) string, chain string, i int) {
			run("-D", chain, strconv.Itoa(i))
		},
		"changed": func(_ *testing.T, run func(...string) string, chain string, i int) {
			run("-R", chain, strconv.Itoa(i), "-p", "tcp", "--dport", "1", "-j", "RETURN")
		},
		"preceded by another": func(_ *testing.T, run func(...string) string, chain string, i int) {
			run("-I", chain, strconv.Itoa(i), "-p", "tcp", "--dport", "1", "-j", "RETURN")
		},
		"moved to the end": func(_ *testing.T, run func(...string) string, chain string, i int) {
			rule := strings.Fields(run("-S", chain, strconv.Itoa(i)))
			run("-D", chain, strconv.Itoa(i))
			run(rule...)
		},
	}
}

func TestEveryTamperedRuleIsDetectedAndRepaired(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		cfg := richConfig(f)
		p.apply(t, cfg, b)
		want := p.rules(t, f, b)
		target, err := cfg.target()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range target.rulesOf(f).Chains {
			for how, tamper := range tampering() {
				for i := range len(c.Rules) {
					if how == "moved to the end" && i == len(c.Rules)-1 {
						continue // it is there already
					}
					run := func(args ...string) string {
						return p.iptables(t, f, b, append([]string{"-t", c.Table}, args...)...)
					}
					tamper(t, run, c.Name, i+1)
					p.detectsAndRepairs(t, cfg, b, f, want, fmt.Sprintf("rule %d of %s (%s) was %s", i+1, c.Name, c.Rules[i], how))
				}
			}
		}
	})
}

func TestTamperedJumpsAreDetectedAndRepaired(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		cfg := richConfig(f)
		p.apply(t, cfg, b)
		want := p.rules(t, f, b)
		for _, jump := range [][2]string{{"nat", ChainOutput}, {"filter", ChainGuard}} {
			for how, changes := range map[string][][]string{
				"was deleted":            {{"-D", "OUTPUT", "1"}},
				"stands twice":           {{"-A", "OUTPUT", "-j", jump[1]}},
				"got a condition":        {{"-R", "OUTPUT", "1", "-p", "tcp", "-j", jump[1]}},
				"became a goto":          {{"-R", "OUTPUT", "1", "-g", jump[1]}},
				"lost its chain's rules": {{"-F", jump[1]}},
				"lost its whole table":   {{"-F", "OUTPUT"}, {"-F"}, {"-X"}},
			} {
				for _, args := range changes {
					p.iptables(t, f, b, append([]string{"-t", jump[0]}, args...)...)
				}
				p.detectsAndRepairs(t, cfg, b, f, want, fmt.Sprintf("the jump to %s %s", jump[1], how))
			}

			// A rule of another program before ours: ours moves in front, and theirs stays.
			p.iptables(t, f, b, "-t", jump[0], "-I", "OUTPUT", "-p", "tcp", "-j", "ACCEPT")
			withTheirs := strings.Replace(want, "-A OUTPUT -j "+jump[1]+"\n", "-A OUTPUT -j "+jump[1]+"\n-A OUTPUT -p tcp -j ACCEPT\n", 1)
			p.detectsAndRepairs(t, cfg, b, f, withTheirs, "a rule of another program before the jump to "+jump[1])
			p.iptables(t, f, b, "-t", jump[0], "-D", "OUTPUT", "-p", "tcp", "-j", "ACCEPT")
		}
	})
}

func (p pod) detectsAndRepairs(t *testing.T, cfg Config, b Backend, f Family, want, what string) {
	t.Helper()
	var found *VerifyError
	if err := p.verify(t, cfg, b); !errors.As(err, &found) {
		t.Errorf("%s, and verify did not notice: %v\n%s", what, err, p.rules(t, f, b))
	}
	p.apply(t, cfg, b)
	if diff := cmp.Diff(want, p.rules(t, f, b)); diff != "" {
		t.Fatalf("%s, and apply did not repair it (-want +got):\n%s", what, diff)
	}
}

func TestDualStackIsAppliedAndCleanedTogether(t *testing.T) {
	for _, b := range bothBackends() {
		t.Run(string(b), func(t *testing.T) {
			p := dualStackPod(t)
			before := p.everything(t)
			cfg := configFor(shootCIDR(IPv4), shootCIDR(IPv6))
			p.apply(t, cfg, b)
			for _, f := range bothFamilies() {
				p.sidecar(t, f)
				p.reaches(t, shootTarget(f))
			}
			if _, err := Clean(t.Context(), p.options(t, b), CleanOptions{}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, p.everything(t)); diff != "" {
				t.Errorf("clean does not restore the pod (-before +after):\n%s", diff)
			}
		})
	}
}

func TestAutoStaysWhereTheChainsStand(t *testing.T) {
	p := dualStackPod(t)
	cfg := configFor(shootCIDR(IPv4))
	if got := p.apply(t, cfg, BackendAuto).Changes[0].Backend; got != BackendNFT {
		t.Errorf("an empty namespace gets %s, want nft", got)
	}
	p.iptables(t, IPv4, BackendLegacy, "-t", "nat", "-A", "OUTPUT", "-p", "udp", "-j", "ACCEPT")
	if result := p.apply(t, cfg, BackendAuto); result.Changed() || result.Changes[0].Backend != BackendNFT {
		t.Errorf("legacy rules of others moved ours: %+v", result)
	}
	if _, err := Clean(t.Context(), p.options(t, BackendAuto), CleanOptions{}); err != nil {
		t.Fatal(err)
	}
	result := p.apply(t, cfg, BackendAuto)
	if got := result.Changes[0].Backend; got != BackendLegacy {
		t.Errorf("where legacy holds nat rules auto takes %s, want legacy", got)
	}
	result = p.apply(t, cfg, BackendNFT)
	if got := result.Changes[0].OtherBackend; got != BackendLegacy {
		t.Errorf("chains in both backends are in force, and apply does not say so: %+v", result)
	}
	// Reading the rules of legacy must not create its tables.
	if got := p.Run(t, "cat", "/proc/net/ip6_tables_names"); got != "" {
		t.Errorf("tables of ip6tables-legacy were made by looking: %q", got)
	}
}
