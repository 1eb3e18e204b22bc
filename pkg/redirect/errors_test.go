// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// The sentences are those of iptables 1.8.9 as it printed them.
func TestFailuresAreClassified(t *testing.T) {
	all := privileges{netAdmin: true, netRaw: true}
	none := privileges{}
	status := errors.New("exit status 4")
	for _, test := range []struct {
		name    string
		failure failure
		have    privileges
		kind    error
		mention string
	}{
		{"nft without NET_ADMIN", failure{IPv4, BackendNFT, "restore", "iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n", status}, none, ErrPermission, "NET_ADMIN"},
		{"legacy restore without NET_ADMIN", failure{IPv4, BackendLegacy, "restore", "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'filter'\nError occurred at line: 1\n", status}, none, ErrPermission, "NET_ADMIN"},
		{"legacy restore without NET_RAW", failure{IPv4, BackendLegacy, "restore", "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'filter'\n", status}, privileges{netAdmin: true}, ErrPermission, "NET_RAW"},
		{"legacy listing without NET_RAW", failure{IPv4, BackendLegacy, "read", "", fmt.Errorf("running iptables: exit status 3: iptables v1.8.9 (legacy): can't initialize iptables table `nat': Permission denied (you must be root)")}, privileges{netAdmin: true}, ErrPermission, "NET_RAW"},
		{"another user namespace's network", failure{IPv4, BackendNFT, "restore", "Permission denied (you must be root)", status}, all, ErrPermission, "not for this network namespace"},
		{"legacy restore without the table", failure{IPv6, BackendLegacy, "restore", "ip6tables-restore v1.8.9 (legacy): ip6tables-restore: unable to initialize table 'nat'\n", status}, all, ErrMissingModule, "ip6table_nat"},
		{"legacy listing without the table", failure{IPv4, BackendLegacy, "read", "", errors.New("can't initialize iptables table `nat': Table does not exist (do you need to insmod?)\n")}, all, ErrMissingModule, "iptable_nat"},
		{"an nft module missing", failure{IPv4, BackendNFT, "restore", "line 3: RULE_APPEND failed (No such file or directory): rule in chain X", status}, all, ErrMissingModule, "module"},
		{"a legacy module missing", failure{IPv4, BackendLegacy, "restore", "iptables-restore: No chain/target/match by that name.\nline 4 failed", status}, all, ErrMissingModule, "module"},
		{"the program is gone", failure{IPv4, BackendNFT, "restore", "", &exec.Error{Name: "x", Err: exec.ErrNotFound}}, all, ErrMissingBinary, "package iptables"},
		{"the lock's folder is read-only", failure{IPv4, BackendLegacy, "restore", "Fatal: can't open lock file /run/xtables.lock: Read-only file system\n", status}, all, nil, "emptyDir"},
		{"the lock's folder is root's", failure{IPv4, BackendLegacy, "read", "", errors.New("exit status 4: Fatal: can't open lock file /run/xtables.lock: Permission denied\n")}, none, ErrPermission, "NET_ADMIN"},
		{"the lock lies nowhere", failure{IPv4, BackendLegacy, "restore", "Fatal: can't open lock file /run/nope/lock: No such file or directory\n", status}, all, nil, "emptyDir"},
		{"the lock is held", failure{IPv4, BackendLegacy, "restore", "Another app is currently holding the xtables lock; still 9s 0us time ahead to have a chance to grab the lock...\n", status}, all, nil, "try again"},
		{"half an image", failure{IPv4, BackendLegacy, "restore", "Couldn't load match `owner':No such file or directory\n", status}, all, nil, "libxtables12"},
		{"a table that iptables cannot show", failure{IPv4, BackendNFT, "read table nat", "iptables v1.8.9 (nf_tables): table `nat' is incompatible, use 'nft' tool.\n", errors.New("exit status 1")}, all, ErrForeignTable, "Options.Backend to legacy"},
		{"cancelled", failure{IPv4, BackendNFT, "restore", "", fmt.Errorf("%w: killed", context.Canceled)}, all, context.Canceled, ""},
		{"something new", failure{IPv4, BackendNFT, "restore", "kernel on fire", status}, all, nil, "kernel on fire"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := classify(test.failure, test.have)
			var kernel *KernelError
			if !errors.As(err, &kernel) || kernel.Cure == "" {
				t.Fatalf("the user is not told what to do: %v", err)
			}
			if test.kind != nil && !errors.Is(err, test.kind) {
				t.Errorf("got %v, want it to be %v", err, test.kind)
			}
			if !strings.Contains(err.Error(), test.mention) {
				t.Errorf("the sentence does not mention %q: %s", test.mention, err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("a sentence has one line: %q", err)
			}
		})
	}
}
