// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nft runs the program with a script on standard input.
func (p pod) nft(t *testing.T, script string) {
	t.Helper()
	cmd := p.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft -f: %v\n%s", err, out)
	}
}

// nativeNAT returns a table of iptables' name with a chain that iptables cannot show.
func nativeNAT(f Family) string {
	family, address, kind := "ip", "192.0.2.9", "ipv4_addr"
	if f == IPv6 {
		family, address, kind = "ip6", "2001:db8::9", "ipv6_addr"
	}
	return fmt.Sprintf(`table %[1]s nat {
	set s {
		type %[3]s . inet_service
		elements = { %[2]s . 80 }
	}
	chain out {
		type nat hook output priority -100; policy accept;
		%[1]s daddr . tcp dport @s redirect to :9
	}
}
`, family, address, kind)
}

// ruleset returns what there is in nf_tables, without counters.
func (p pod) ruleset(t *testing.T) string {
	t.Helper()
	out, err := p.Command("nft", "--stateless", "list", "ruleset").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestRulesStandBesideANativeTable(t *testing.T) {
	for _, f := range bothFamilies() {
		for name, first := range map[string]bool{"loaded before": true, "loaded after": false} {
			t.Run(string(f)+"/"+name, func(t *testing.T) {
				t.Parallel()
				p := dualStackPod(t)
				cfg := configFor(shootCIDR(f))
				log := newLines()
				opt := p.options(t, BackendAuto)
				opt.Logger = slog.New(slog.NewTextHandler(log, nil))
				if !first {
					p.apply(t, cfg, BackendAuto)
				}
				p.nft(t, nativeNAT(f))
				for i := range 3 {
					result, err := ApplyAndVerify(t.Context(), cfg, opt)
					if err != nil {
						t.Fatalf("apply %d: %v", i, err)
					}
					if c := result.Changes[0]; c.Backend != BackendNFT || result.Changed() != (first && i == 0) {
						t.Errorf("apply %d changed something, or took another backend: %s", i, result)
					}
				}
				if got := strings.Count(p.ruleset(t), "jump "+ChainOutput); got != 1 {
					t.Errorf("%d jumps to %s stand, want 1:\n%s", got, ChainOutput, p.ruleset(t))
				}
				if got := strings.Count(log.String(), "table nat chain out (hook output, priority -100)"); got != 3 {
					t.Errorf("the chain that iptables cannot show is named %d times, want once in each apply: %s", got, log)
				}
				p.sidecar(t, f)
				p.reaches(t, shootTarget(f))
				if report, err := Dump(t.Context(), opt); err != nil || counted(report, ChainRedirect) == 0 {
					t.Errorf("dump does not see our rules: %+v, %v", report, err)
				}
				if _, err := Clean(t.Context(), opt, CleanOptions{}); err != nil {
					t.Fatal(err)
				}
				if got := p.ruleset(t); strings.Contains(got, "PROXY_CLIENT") || !strings.Contains(got, "redirect to :9") {
					t.Errorf("clean left ours, or took the other's:\n%s", got)
				}
			})
		}
	}
}

// TestTableThatIPTablesRefusesIsNamedAndLeftAlone: one rule that iptables does not know makes
// it refuse the whole table.
func TestTableThatIPTablesRefusesIsNamedAndLeftAlone(t *testing.T) {
	for _, standing := range []bool{false, true} {
		t.Run(fmt.Sprint("ours stand ", standing), func(t *testing.T) {
			t.Parallel()
			p := dualStackPod(t)
			cfg := configFor(shootCIDR(IPv4), shootCIDR(IPv6))
			if standing {
				p.apply(t, cfg, BackendNFT)
			}
			p.nft(t, "table ip6 nat {\n\tchain OUTPUT {\n\t\ttype nat hook output priority -100; policy accept;\n\t\tfib daddr type local accept\n\t}\n}\n")
			before := p.ruleset(t)
			for name, call := range map[string]func(Options) error{
				"apply":  func(o Options) error { _, err := ApplyAndVerify(t.Context(), cfg, o); return err },
				"verify": func(o Options) error { return Verify(t.Context(), cfg, o) },
				"dump":   func(o Options) error { _, err := Dump(t.Context(), o); return err },
				"clean":  func(o Options) error { _, err := Clean(t.Context(), o, CleanOptions{}); return err },
			} {
				err := call(p.options(t, BackendAuto))
				var kernel *KernelError
				if !errors.Is(err, ErrForeignTable) || !errors.As(err, &kernel) || !strings.Contains(err.Error(), "IPv6, nft: read table nat") {
					t.Errorf("%s: %v, want ErrForeignTable and the table's name", name, err)
				}
			}
			if diff := cmp.Diff(before, p.ruleset(t)); diff != "" {
				t.Errorf("refused, and yet something changed (-before +after):\n%s", diff)
			}
			if legacy := p.rules(t, IPv6, BackendLegacy); strings.Contains(legacy, "PROXY_CLIENT") {
				t.Errorf("the other backend was taken:\n%s", legacy)
			}
			if standing {
				return
			}
			// This is what the error proposes.
			if _, err := ApplyAndVerify(t.Context(), cfg, p.options(t, BackendLegacy)); err != nil {
				t.Errorf("legacy beside it: %v", err)
			}
		})
	}
}
