// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// installedOf reads what the rules of cfg ask for, as iptables would list them.
func installedOf(t *testing.T, cfg Config) *Installed {
	t.Helper()
	target, err := cfg.target()
	if err != nil {
		t.Fatal(err)
	}
	var some []installation
	for _, f := range target.families() {
		s, err := readState(&fakeTables{t: t, name: string(f), listing: applied(t, cfg, f)})
		if err != nil {
			t.Fatal(err)
		}
		some = append(some, installation{opened: opened{family: f, backend: BackendNFT, state: s}})
	}
	return installedIn(some)
}

func TestRulesSayWhatTheyWereMadeFor(t *testing.T) {
	many := richConfig(IPv4)
	for port := range uint16(31) { // three rules of multiport
		many.ExcludePorts = append(many.ExcludePorts, 30000+2*port)
	}
	for port := range uint16(1000) { // and one range
		many.ExcludePorts = append(many.ExcludePorts, 40000+port)
	}
	many.ExcludeUIDs = []uint32{7, 0, 14001, 2000, 7}
	dual := richConfig(IPv6)
	dual.Shoot = append(dual.Shoot, prefixes("100.64.0.0/12", "10.250.0.0/16", "10.251.0.0/16", "fd00:20::/48")...)
	allExcluded := configFor("100.64.0.0/12", "fd00:10::/48")
	allExcluded.Exclude = prefixes("fd00:10::/48", "100.64.0.10/32")
	for name, cfg := range map[string]Config{
		"plain": configFor("100.64.0.0/12"), "IPv4": richConfig(IPv4), "IPv6": richConfig(IPv6), "many": many, "dual": dual,
		"a family is excluded": allExcluded,
	} {
		t.Run(name, func(t *testing.T) {
			installed := installedOf(t, cfg)
			want, err := Build(cfg)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Build(installed.Config())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), got.String()); diff != "" {
				t.Errorf("the rules were made for something else (-want +got):\n%s", diff)
			}
			target, err := installed.Config().target()
			if err != nil {
				t.Fatal(err)
			}
			if problems := installed.incomplete(target); len(problems) > 0 {
				t.Errorf("whole rules count as incomplete: %q", problems)
			}
			if differences, err := installed.Differences(cfg); err != nil || len(differences) > 0 {
				t.Errorf("they differ from what they were made for: %q, %v", differences, err)
			}
		})
	}
}

func TestDifferencesShowBothSides(t *testing.T) {
	installed := installedOf(t, richConfig(IPv4))
	asked := configFor("100.64.0.0/12", "10.250.0.0/16", "fd00:10::/48")
	asked.ProxyPort, asked.ProxyUID, asked.ExcludeUIDs = 14002, 14003, []uint32{14003}
	got, err := installed.Differences(asked)
	want := []string{
		"shoot CIDRs: asked for 10.250.0.0/16,100.64.0.0/12,fd00:10::/48, and the rules that stand have 100.64.0.0/12",
		"excluded CIDRs: asked for none, and the rules that stand have 100.64.0.10/32",
		"excluded ports: asked for none, and the rules that stand have 22,9443,30000-30003",
		"excluded uids: asked for none, and the rules that stand have 2000",
		"the proxy's port: asked for 14002, and the rules that stand have 14001",
		"the proxy's uid: asked for 14003, and the rules that stand have 14001",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestInstalledRulesAreVerifiedWithoutFlags(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		verify := func() (*Installed, error) { return VerifyInstalled(t.Context(), p.options(t, BackendAuto)) }
		var problem *VerifyError
		if installed, err := verify(); installed != nil || !errors.As(err, &problem) || len(problem.Problems) != 1 || !strings.Contains(err.Error(), "nothing of package redirect stands") {
			t.Errorf("where nothing stands: %+v, %v", installed, err)
		}
		cfg := richConfig(f)
		p.apply(t, cfg, b)
		installed, err := verify()
		if err != nil {
			t.Fatal(err)
		}
		if got := installed.Backends[f]; got != b || len(installed.Backends) != 1 || installed.ProxyUID != 14001 || len(installed.ExcludePorts) != 6 {
			t.Errorf("the rules ask for %s", installed)
		}
		report, err := Dump(t.Context(), p.options(t, BackendAuto))
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(report)
		if err != nil || !strings.Contains(string(text), fmt.Sprintf(`"asks":{"shoot":[%q]`, shootCIDR(f))) {
			t.Errorf("dump as JSON does not say what the rules ask for: %s, %v", text, err)
		}

		// Verify connected to the probe addresses. No app made these connections.
		var table strings.Builder
		if err := report.WriteTable(&table); err != nil {
			t.Fatal(err)
		}
		if probes := len(report.Connections); probes < 2 || !strings.Contains(table.String(), "No redirected connections.") ||
			!strings.Contains(table.String(), fmt.Sprintf("Not shown: %d checks of the redirect itself", probes)) {
			t.Errorf("after verify and no app, dump shows %d connections and:\n%s", probes, &table)
		}

		target, err := cfg.target()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range target.rulesOf(f).Chains {
			for i, r := range c.Rules {
				p.iptables(t, f, b, "-t", c.Table, "-D", c.Name, fmt.Sprint(i+1))
				if installed, err := verify(); !errors.As(err, &problem) {
					t.Errorf("rule %d of %s (%s) is missing, and verify gave %v for %s", i+1, c.Name, r, err, installed)
				}
				p.apply(t, cfg, b)
			}
		}
	})
}

// TestCIDRThatIsGoneEverywhereIsNoticed: a CIDR that is missing in all chains shows in none of
// them.
func TestCIDRThatIsGoneEverywhereIsNoticed(t *testing.T) {
	for name, remove := range map[string]func(*testing.T, pod){
		"one CIDR": func(t *testing.T, p pod) {
			for table, chain := range map[string]string{tableNAT: ChainOutput, tableFilter: ChainGuard} {
				for _, line := range strings.Split(p.iptables(t, IPv4, BackendNFT, "-t", table, "-S", chain), "\n") {
					if strings.Contains(line, "-d 10.250.0.0/16") {
						p.Run(t, "iptables-nft", append([]string{"-t", table, "-D"}, strings.Fields(line)[1:]...)...)
					}
				}
			}
		},
		"one family": func(t *testing.T, p pod) {
			for _, table := range ourTables() {
				p.iptables(t, IPv6, BackendNFT, "-t", table, "-F")
				p.iptables(t, IPv6, BackendNFT, "-t", table, "-X")
			}
		},
		"the rules of one family": func(t *testing.T, p pod) {
			p.iptables(t, IPv6, BackendNFT, "-t", tableNAT, "-F", ChainOutput)
			p.iptables(t, IPv6, BackendNFT, "-t", tableFilter, "-F", ChainGuard)
		},
		"the port": func(t *testing.T, p pod) {
			for _, f := range bothFamilies() {
				p.iptables(t, f, BackendNFT, "-t", tableNAT, "-F", ChainRedirect)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dualStackPod(t)
			cfg := configFor("100.64.0.0/12", "10.250.0.0/16", "fd00:10::/48")
			p.apply(t, cfg, BackendNFT)
			if _, err := VerifyInstalled(t.Context(), p.options(t, BackendAuto)); err != nil {
				t.Fatal(err)
			}
			remove(t, p)
			var problem *VerifyError
			if installed, err := VerifyInstalled(t.Context(), p.options(t, BackendAuto)); !errors.As(err, &problem) {
				t.Errorf("verify gave %v for %s", err, installed)
			}
		})
	}
}
