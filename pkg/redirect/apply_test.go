// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelprobe"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// applyTo is Apply in the fake namespace of a test.
func applyTo(t *testing.T, n *namespace, cfg Config) (*Result, error) {
	t.Helper()
	target, err := cfg.target()
	if err != nil {
		t.Fatal(err)
	}
	all, err := n.prepare(target, true)
	if err != nil {
		return nil, err
	}
	result, err := n.plan(target, all)
	if err != nil {
		return nil, err
	}
	return result, n.apply(target, all)
}

// probed returns the two calls of iptables-restore by which the kernel is probed.
func probed() []expectedRestore {
	return []expectedRestore{
		{contains: []string{":" + kernelprobe.ChainPrefix, "-j REDIRECT", "--uid-owner", "--dports", "-j REJECT"}, lacks: []string{"OUTPUT"}},
		{contains: []string{"-X " + kernelprobe.ChainPrefix}, lacks: []string{"-A"}},
	}
}

func TestApplyOverTheSameRulesCallsNothing(t *testing.T) {
	cfg := configFor("100.64.0.0/12")
	n := fakeNamespace(t, BackendAuto, map[string]*fakeTables{
		"IPv4 nft": {listing: applied(t, cfg, IPv4)},
	})
	result, err := applyTo(t, n, cfg)
	if err != nil || result.Changed() {
		t.Errorf("the rules stand, and apply changed %+v, error %v", result, err)
	}
}

func TestApplyRepairsOnlyWhatDiffers(t *testing.T) {
	cfg := configFor("100.64.0.0/12")
	good := applied(t, cfg, IPv4)
	for _, test := range []struct {
		name, table, old, new string
		want                  string
	}{
		{
			"jump lost", tableNAT, "-A OUTPUT -c 7 420 -j PROXY_CLIENT_OUTPUT\n", "",
			"*nat\n-I OUTPUT 1 -j PROXY_CLIENT_OUTPUT\nCOMMIT\n",
		},
		{
			"a rule of another program before ours", tableNAT, "-A OUTPUT", "-A OUTPUT -c 1 60 -j MESH\n-A OUTPUT",
			"*nat\n-D OUTPUT -j PROXY_CLIENT_OUTPUT\n-I OUTPUT 1 -j PROXY_CLIENT_OUTPUT\nCOMMIT\n",
		},
		{
			"jump twice, once with a condition", tableFilter, "-A OUTPUT", "-A OUTPUT -p tcp -j PROXY_CLIENT_GUARD\n-A OUTPUT",
			"*filter\n-D OUTPUT -p tcp -j PROXY_CLIENT_GUARD\n-D OUTPUT -j PROXY_CLIENT_GUARD\n-I OUTPUT 1 -j PROXY_CLIENT_GUARD\nCOMMIT\n",
		},
		{
			"another proxy port", tableNAT, "14001\n", "14002\n",
			"*nat\n:PROXY_CLIENT_REDIRECT - [0:0]\n-A PROXY_CLIENT_REDIRECT -p tcp -j REDIRECT --to-ports 14001\nCOMMIT\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			listing := maps.Clone(good)
			// The last occurrence, because the uid rule has the same number.
			i := strings.LastIndex(listing[test.table], test.old)
			listing[test.table] = listing[test.table][:i] + test.new + listing[test.table][i+len(test.old):]
			fake := &fakeTables{listing: listing, restore: append(probed(), expectedRestore{contains: []string{test.want}})}
			result, err := applyTo(t, fakeNamespace(t, BackendNFT, map[string]*fakeTables{"IPv4 nft": fake}), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, result.Changes[0].Script); diff != "" {
				t.Errorf("the repair is not what differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBothFamiliesAreProbedBeforeOneIsChanged(t *testing.T) {
	cfg := configFor("100.64.0.0/12", "fd00:10::/48")
	missing := &KernelError{Op: "ip6tables-nft-restore", Err: fmt.Errorf("%w", ErrMissingModule), Cure: "x"}
	empty := map[string]string{tableNAT: builtins, tableFilter: builtins}
	n := fakeNamespace(t, BackendNFT, map[string]*fakeTables{
		"IPv4 nft": {listing: empty, restore: probed()}, // and nothing after that
		"IPv6 nft": {listing: empty, restore: failing(missing, 1+len(features(IPv6)))},
	})
	if _, err := applyTo(t, n, cfg); !errors.Is(err, ErrMissingModule) {
		t.Errorf("IPv6 cannot be redirected, so its traffic would leak; apply said %v", err)
	}
	// Without any ip6tables.
	n = fakeNamespace(t, BackendAuto, map[string]*fakeTables{"IPv4 nft": {listing: empty}})
	if _, err := applyTo(t, n, cfg); !errors.Is(err, ErrMissingBinary) {
		t.Errorf("an IPv6 CIDR without ip6tables must be fatal; apply said %v", err)
	}
}

func TestIPv6IsNotTouchedWithoutAnIPv6CIDR(t *testing.T) {
	cfg := configFor("100.64.0.0/12")
	n := fakeNamespace(t, BackendNFT, map[string]*fakeTables{
		"IPv4 nft": {listing: map[string]string{}, restore: append(probed(), expectedRestore{contains: []string{"*filter", "*nat"}})},
	})
	n.ipv6Disabled = func() (string, bool) { return "for this test", true }
	if _, err := applyTo(t, n, cfg); err != nil {
		t.Errorf("an IPv4 shoot must not care about IPv6: %v", err)
	}
	cfg = configFor("100.64.0.0/12", "fd00:10::/48")
	var kernel *KernelError
	_, err := applyTo(t, n, cfg)
	if !errors.Is(err, ErrIPv6Disabled) || !errors.As(err, &kernel) || !strings.Contains(err.Error(), "for this test") {
		t.Errorf("an IPv6 shoot without IPv6 in the kernel gave %v, want ErrIPv6Disabled and why", err)
	}
}

func TestGuardIsCommittedBeforeAndRemovedAfterTheRedirect(t *testing.T) {
	rules, err := Build(configFor("100.64.0.0/12"))
	if err != nil {
		t.Fatal(err)
	}
	text := rules.String()
	if nat := strings.Index(text, "*nat"); strings.Index(text, "*filter") > nat || strings.Index(text, "*mangle") > nat {
		t.Errorf("between nat and filter the shoot's traffic would leak:\n%s", text)
	}
	all := map[string]map[string][]rule.Listed{tableNAT: {ChainOutput: nil}, tableFilter: {ChainGuard: nil}, tableMangle: {ChainGuard: nil}}
	text = removal(all)
	if nat := strings.Index(text, "*nat"); strings.Index(text, "*filter") < nat || strings.Index(text, "*mangle") < nat {
		t.Errorf("the guard is removed before the redirect:\n%s", text)
	}
}
