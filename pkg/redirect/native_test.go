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
	"github.com/vishvananda/netlink"
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

// nativeNAT is a table of iptables' name with a chain that iptables cannot show.
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

// ruleset is what stands in nf_tables, without counters.
func (p pod) ruleset(t *testing.T) string {
	t.Helper()
	out, err := p.Command("nft", "--stateless", "list", "ruleset").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestRulesStandBesideANativeTable(t *testing.T) {
	for _, f := range bothFamilies {
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

// One rule that iptables does not understand makes it refuse the whole table.
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
			// What the sentence proposes.
			if _, err := ApplyAndVerify(t.Context(), cfg, p.options(t, BackendLegacy)); err != nil {
				t.Errorf("--iptables legacy beside it: %v", err)
			}
		})
	}
}

func TestListingIsReadWholeOrNotAtAll(t *testing.T) {
	got, err := parseListing("# Table `nat' contains incompatible base-chains, use 'nft' tool to list them.\n" +
		"-P OUTPUT ACCEPT -c 0 0\n-N PROXY_CLIENT_OUTPUT\n-A OUTPUT -c 0 0 -j PROXY_CLIENT_OUTPUT\n")
	want := map[string][]string{
		"OUTPUT":              {"-P OUTPUT ACCEPT -c 0 0", "-A OUTPUT -c 0 0 -j PROXY_CLIENT_OUTPUT"},
		"PROXY_CLIENT_OUTPUT": {"-N PROXY_CLIENT_OUTPUT"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("a remark hides the rules: %v (-want +got):\n%s", err, diff)
	}
	for _, listing := range []string{"Another app is using it\n", "-P OUTPUT ACCEPT\nChain nat\n", "-A\n"} {
		if got, err := parseListing(listing); err == nil {
			t.Errorf("%q is read as %v", listing, got)
		}
	}
}

func TestHiddenChainOfOursIsAnError(t *testing.T) {
	p := dualStackPod(t)
	p.apply(t, configFor(shootCIDR(IPv4)), BackendNFT)
	p.Do(t, func() {
		real, err := openIPTables(t.Context(), slog.New(slog.DiscardHandler), map[string]bool{}, IPv4, BackendNFT)
		if err != nil {
			t.Error(err)
			return
		}
		view := real.(*iptablesTables)
		whole, err := view.List(tableNAT)
		if err != nil {
			t.Error(err)
		}
		if err := view.compareWithKernel(tableNAT, whole); err != nil {
			t.Errorf("a whole listing: %v", err)
		}
		delete(whole, ChainRedirect)
		if err := view.compareWithKernel(tableNAT, whole); !errors.Is(err, ErrForeignTable) || !strings.Contains(err.Error(), ChainRedirect) {
			t.Errorf("a listing without %s gave %v, want ErrForeignTable and its name", ChainRedirect, err)
		}
	})
}

func TestInterruptedDumpIsAskedForAgain(t *testing.T) {
	tries := 0
	dump := func(interrupted int) func() ([]int, error) {
		return func() ([]int, error) {
			if tries++; tries <= interrupted {
				return []int{1}, netlink.ErrDumpInterrupted
			}
			return []int{1, 2}, nil
		}
	}
	if got, err := complete(dump(2)); err != nil || len(got) != 2 || tries != 3 {
		t.Errorf("after %d tries: %v, %v; want the whole dump after 3", tries, got, err)
	}
	if got, err := complete(dump(1000)); !errors.Is(err, netlink.ErrDumpInterrupted) || len(got) != 1 {
		t.Errorf("a dump that is always interrupted: %v, %v; want what there is, and the error", got, err)
	}
}
