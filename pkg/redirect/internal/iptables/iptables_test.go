// SPDX-License-Identifier: Apache-2.0

//go:build linux

package iptables

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// TestHiddenChainOfOursIsAnError: a listing has to show each chain of ours that the kernel
// has.
func TestHiddenChainOfOursIsAnError(t *testing.T) {
	const ours = "PROXY_CLIENT_REDIRECT"
	netnstest.RequireRoot(t)
	pod := netnstest.New(t)
	pod.Run(t, "iptables-nft", "-t", "nat", "-N", ours)
	pod.Do(t, func() {
		view, err := NewOpener(t.Context(), Options{
			Logger: slog.New(slog.DiscardHandler), LockWaitSeconds: DefaultLockWait,
			Owns: func(table, chain string) bool { return table == "nat" && chain == ours },
		}).Open(family.IPv4, NFT)
		if err != nil {
			t.Error(err)
			return
		}
		whole, err := view.List("nat")
		if err != nil {
			t.Error(err)
		}
		if err := view.compareWithKernel("nat", whole); err != nil {
			t.Errorf("a whole listing: %v", err)
		}
		delete(whole, ours)
		if err := view.compareWithKernel("nat", whole); !errors.Is(err, kernelerror.ErrForeignTable) || !strings.Contains(err.Error(), ours) {
			t.Errorf("a listing without %s gave %v, want ErrForeignTable and its name", ours, err)
		}
	})
}
