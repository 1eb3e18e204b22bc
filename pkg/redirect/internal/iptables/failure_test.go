// SPDX-License-Identifier: Apache-2.0

//go:build linux

package iptables

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
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
		{"nft without NET_ADMIN", failure{family.IPv4, NFT, "restore", "iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n", status}, none, kernelerror.ErrPermission, "NET_ADMIN"},
		{"legacy restore without NET_ADMIN", failure{family.IPv4, Legacy, "restore", "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'filter'\nError occurred at line: 1\n", status}, none, kernelerror.ErrPermission, "NET_ADMIN"},
		{"legacy restore without NET_RAW", failure{family.IPv4, Legacy, "restore", "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'filter'\n", status}, privileges{netAdmin: true}, kernelerror.ErrPermission, "NET_RAW"},
		{"legacy listing without NET_RAW", failure{family.IPv4, Legacy, "read", "", fmt.Errorf("running iptables: exit status 3: iptables v1.8.9 (legacy): can't initialize iptables table `nat': Permission denied (you must be root)")}, privileges{netAdmin: true}, kernelerror.ErrPermission, "NET_RAW"},
		{"another user namespace's network", failure{family.IPv4, NFT, "restore", "Permission denied (you must be root)", status}, all, kernelerror.ErrPermission, "not for this network namespace"},
		{"legacy restore without the table", failure{family.IPv6, Legacy, "restore", "ip6tables-restore v1.8.9 (legacy): ip6tables-restore: unable to initialize table 'nat'\n", status}, all, kernelerror.ErrMissingModule, "ip6table_nat"},
		{"legacy listing without the table", failure{family.IPv4, Legacy, "read", "", errors.New("can't initialize iptables table `nat': Table does not exist (do you need to insmod?)\n")}, all, kernelerror.ErrMissingModule, "iptable_nat"},
		{"an nft module missing", failure{family.IPv4, NFT, "restore", "line 3: RULE_APPEND failed (No such file or directory): rule in chain X", status}, all, kernelerror.ErrMissingModule, "module"},
		{"a legacy module missing", failure{family.IPv4, Legacy, "restore", "iptables-restore: No chain/target/match by that name.\nline 4 failed", status}, all, kernelerror.ErrMissingModule, "module"},
		{"the program is gone", failure{family.IPv4, NFT, "restore", "", &exec.Error{Name: "x", Err: exec.ErrNotFound}}, all, kernelerror.ErrMissingBinary, "package iptables"},
		{"the lock's folder is read-only", failure{family.IPv4, Legacy, "restore", "Fatal: can't open lock file /run/xtables.lock: Read-only file system\n", status}, all, nil, "emptyDir"},
		{"the lock's folder is root's", failure{family.IPv4, Legacy, "read", "", errors.New("exit status 4: Fatal: can't open lock file /run/xtables.lock: Permission denied\n")}, none, kernelerror.ErrPermission, "NET_ADMIN"},
		{"the lock lies nowhere", failure{family.IPv4, Legacy, "restore", "Fatal: can't open lock file /run/nope/lock: No such file or directory\n", status}, all, nil, "emptyDir"},
		{"the lock is held", failure{family.IPv4, Legacy, "restore", "Another app is currently holding the xtables lock; still 9s 0us time ahead to have a chance to grab the lock...\n", status}, all, nil, "try again"},
		{"half an image", failure{family.IPv4, Legacy, "restore", "Couldn't load match `owner':No such file or directory\n", status}, all, nil, "libxtables12"},
		{"a table that iptables cannot show", failure{family.IPv4, NFT, "read table nat", "iptables v1.8.9 (nf_tables): table `nat' is incompatible, use 'nft' tool.\n", errors.New("exit status 1")}, all, kernelerror.ErrForeignTable, "Options.Backend to legacy"},
		{"cancelled", failure{family.IPv4, NFT, "restore", "", fmt.Errorf("%w: killed", context.Canceled)}, all, context.Canceled, ""},
		{"something new", failure{family.IPv4, NFT, "restore", "kernel on fire", status}, all, nil, "kernel on fire"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := classify(test.failure, test.have)
			var kernel *kernelerror.Error
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
