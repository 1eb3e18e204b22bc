// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelprobe"
)

func TestBackendIsChosen(t *testing.T) {
	cfg := configFor("100.64.0.0/12")
	target, err := cfg.target()
	if err != nil {
		t.Fatal(err)
	}
	empty := map[string]string{tableNAT: builtins, tableFilter: builtins}
	mesh := map[string]string{tableNAT: builtins + "-N MESH\n-A OUTPUT -j MESH\n", tableFilter: builtins}
	ours := applied(t, cfg, IPv4)
	denied := &KernelError{Op: "read", Err: fmt.Errorf("%w", ErrPermission), Cure: "needs capability NET_RAW"}
	lacking := &KernelError{Op: "iptables-nft-restore", Err: fmt.Errorf("%w", ErrMissingModule), Cure: "none"}
	busy := &KernelError{Op: "iptables-nft-restore", Err: fmt.Errorf("%w", errBusyForTest), Cure: "none"}
	for _, test := range []struct {
		name        string
		backend     Backend
		nft, legacy *fakeTables
		want, other Backend
		err         error
	}{
		{"neither program", BackendAuto, nil, nil, "", "", ErrMissingBinary},
		{"the asked one is missing", BackendLegacy, &fakeTables{listing: empty}, nil, "", "", ErrMissingBinary},
		{"the asked one is denied", BackendLegacy, &fakeTables{listing: empty}, &fakeTables{listErr: denied}, "", "", ErrPermission},
		{"permission tells more than a missing program", BackendAuto, &fakeTables{listErr: denied}, nil, "", "", ErrPermission},
		{"asked for nft, a mesh in legacy", BackendNFT, &fakeTables{listing: empty, restore: probed()}, &fakeTables{listing: mesh}, BackendNFT, "", nil},
		{"asked for legacy", BackendLegacy, &fakeTables{listing: empty}, &fakeTables{listing: empty, restore: probed()}, BackendLegacy, "", nil},
		{"asked for nft, ours in legacy", BackendNFT, &fakeTables{listing: empty, restore: probed()}, &fakeTables{listing: ours}, BackendNFT, BackendLegacy, nil},
		{"nothing anywhere", BackendAuto, &fakeTables{listing: empty, restore: probed()}, &fakeTables{listing: empty}, BackendNFT, "", nil},
		{"legacy holds nat rules", BackendAuto, &fakeTables{listing: empty}, &fakeTables{listing: mesh, restore: probed()}, BackendLegacy, "", nil},
		{"legacy holds nat rules, but not for us", BackendAuto, &fakeTables{listing: empty, restore: probed()}, &fakeTables{listErr: denied}, BackendNFT, "", nil},
		{"no nft program", BackendAuto, nil, &fakeTables{listing: empty, restore: probed()}, BackendLegacy, "", nil},
		{"nft does not work here", BackendAuto, &fakeTables{listing: empty, restore: failing(lacking, 1+len(features(IPv4)))}, &fakeTables{listing: empty, restore: probed()}, BackendLegacy, "", nil},
		{"nft cannot be listed for lack of a module", BackendAuto, &fakeTables{listErr: lacking}, &fakeTables{listing: empty, restore: probed()}, BackendLegacy, "", nil},
		{"nft fails for now", BackendAuto, &fakeTables{listing: empty, restore: failing(busy, 1+len(features(IPv4)))}, &fakeTables{listing: empty}, "", "", errBusyForTest},
		{"the lock is held", BackendAuto, &fakeTables{listing: empty, restore: failing(&KernelError{Err: ErrBusy}, 1)}, &fakeTables{listing: empty}, "", "", ErrBusy},
		{"cancelled", BackendAuto, &fakeTables{listing: empty, restore: failing(&KernelError{Err: context.Canceled}, 1)}, &fakeTables{listing: empty}, "", "", context.Canceled},
		{"nft cannot be listed for now", BackendAuto, &fakeTables{listErr: busy}, &fakeTables{listing: empty}, "", "", errBusyForTest},
		{"legacy cannot be listed for now", BackendAuto, &fakeTables{listing: empty}, &fakeTables{listErr: busy}, "", "", errBusyForTest},
		{"asked for nft, legacy cannot be listed for now", BackendNFT, &fakeTables{listing: empty, restore: probed()}, &fakeTables{listErr: busy}, BackendNFT, "", nil},
		{"ours stand in nft, a mesh came to legacy", BackendAuto, &fakeTables{listing: ours}, &fakeTables{listing: mesh}, BackendNFT, "", nil},
		{"ours stand in both", BackendAuto, &fakeTables{listing: ours}, &fakeTables{listing: ours}, BackendNFT, BackendLegacy, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			fakes := map[string]*fakeTables{}
			if test.nft != nil {
				fakes["IPv4 nft"] = test.nft
			}
			if test.legacy != nil {
				fakes["IPv4 legacy"] = test.legacy
			}
			n := fakeNamespace(t, test.backend, fakes)
			surveys, err := n.survey(&Ruleset{Families: []FamilyRules{target.rulesOf(IPv4)}})
			var got chosen
			if err == nil {
				got, err = n.choose(surveys[0], true)
			}
			if !errors.Is(err, test.err) || got.backend != test.want || got.other != test.other {
				t.Errorf("chose %q (also in %q), %v; want %q (also in %q), %v", got.backend, got.other, err, test.want, test.other, test.err)
			}
		})
	}
}

// errBusyForTest is a failure that may be over soon.
var errBusyForTest = errors.New("line 3 failed, try again")

func failing(err error, times int) []expectedRestore {
	var all []expectedRestore
	for range times {
		all = append(all, expectedRestore{err: err})
	}
	return all
}

func TestMissingKernelModuleIsNamed(t *testing.T) {
	broken := &KernelError{Op: "iptables-legacy-restore", Err: errors.New("line 5 failed"), Cure: "none"}
	one := func(contains string, err error) []expectedRestore {
		all := []expectedRestore{{contains: []string{contains}, err: err}}
		if err == nil {
			all = append(all, expectedRestore{contains: []string{"-X " + kernelprobe.ChainPrefix}})
		}
		return all
	}
	fake := &fakeTables{t: t, listing: map[string]string{tableNAT: builtins, tableFilter: builtins}}
	fake.restore = append(fake.restore, expectedRestore{err: broken})
	for _, f := range features(IPv4) {
		var err error
		if strings.Contains(f.Rule, "multiport") {
			err = broken
		}
		fake.restore = append(fake.restore, one(f.Rule, err)...)
	}
	err := probeKernel(opened{family: IPv4, backend: BackendLegacy, tables: fake})
	if !errors.Is(err, ErrMissingModule) || !strings.Contains(err.Error(), "xt_multiport") || strings.Contains(err.Error(), "xt_owner") {
		t.Errorf("a kernel without multiport gave %v, want the module's name and no other", err)
	}
}

// TestDisturbedProbeIsNoMissingModule: the kernel accepts each rule alone, so nothing is
// missing. Another program flushed the chain in between, and iptables says the same then.
func TestDisturbedProbeIsNoMissingModule(t *testing.T) {
	disturbed := &KernelError{Op: "iptables-nft-restore", Err: fmt.Errorf("%w (No chain/target/match by that name)", ErrMissingModule), Cure: "none"}
	each := slices.Repeat([]expectedRestore{{}, {contains: []string{"-X " + kernelprobe.ChainPrefix}}}, len(features(IPv4)))
	for name, test := range map[string]struct {
		again []expectedRestore
		fails bool
	}{
		"once":  {probed(), false},
		"twice": {failing(disturbed, 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			fake := &fakeTables{
				t: t, listing: map[string]string{tableNAT: builtins, tableFilter: builtins},
				restore: slices.Concat(failing(disturbed, 1), each, test.again),
			}
			err := probeKernel(opened{family: IPv4, backend: BackendNFT, tables: fake})
			if (err != nil) != test.fails || err != nil && suggestsOther(err) {
				t.Errorf("got %v, want an error: %v, and none that suggests the other backend", err, test.fails)
			}
			if len(fake.restore) > 0 {
				t.Errorf("%d more calls of iptables-restore were expected", len(fake.restore))
			}
		})
	}
}

func TestInterruptedProbeLeavesNothing(t *testing.T) {
	broken := &KernelError{Op: "iptables-nft-restore", Err: fmt.Errorf("%w", ErrPermission), Cure: "none"}
	left := kernelprobe.ChainPrefix + "_0000abcd"
	removed := expectedRestore{contains: []string{"*filter\n-F " + left + "\n-X " + left}, lacks: []string{"*nat"}}
	fake := &fakeTables{
		t:       t,
		listing: map[string]string{tableNAT: builtins, tableFilter: builtins + "-N " + left + "\n"},
		restore: []expectedRestore{
			removed,       // of a process that was killed
			{err: broken}, // filter committed, nat failed
			removed,
		},
	}
	if err := probeKernel(opened{family: IPv4, backend: BackendNFT, tables: fake}); !errors.Is(err, ErrPermission) {
		t.Errorf("the probe's own error is lost: %v", err)
	}
	if len(fake.restore) > 0 {
		t.Error("the chain of a probe that failed halfway stays behind")
	}
}

func TestBackendThatCannotBeReadIsWarnedOf(t *testing.T) {
	target, err := configFor("100.64.0.0/12").target()
	if err != nil {
		t.Fatal(err)
	}
	empty := map[string]string{tableNAT: builtins, tableFilter: builtins}
	for _, test := range []struct {
		name    string
		err     error
		backend Backend
		want    int
	}{
		{"denied", &KernelError{Op: "read", Err: ErrPermission, Cure: "needs capability NET_RAW"}, BackendAuto, 1},
		{"held, and not asked for", &KernelError{Op: "read", Err: ErrBusy, Cure: "try again"}, BackendNFT, 1},
		{"not in the kernel", &KernelError{Op: "read", Err: ErrMissingModule, Cure: "load it"}, BackendAuto, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := fakeNamespace(t, test.backend, map[string]*fakeTables{"IPv4 nft": {listing: empty}, "IPv4 legacy": {listErr: test.err}})
			log := newLines()
			n.log = slog.New(slog.NewTextHandler(log, nil))
			s, err := n.candidates(target.rulesOf(IPv4))
			if err == nil {
				_, err = n.choose(s, false)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(log.String(), "the other backend cannot be read"); got != test.want {
				t.Errorf("warned %d times, want %d: %s", got, test.want, log)
			}
		})
	}
}
