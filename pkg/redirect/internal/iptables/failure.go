// SPDX-License-Identifier: Apache-2.0

//go:build linux

package iptables

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
)

// failure is a program that failed, before its failure is classified.
type failure struct {
	family  family.Family
	backend Backend
	op      string
	stderr  string
	err     error
}

// privileges are the capabilities that iptables may need, in the user namespace of this
// process.
type privileges struct{ netAdmin, netRaw bool }

func capabilities() privileges {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return privileges{true, true} // unknown, so they are not called the cause
	}
	has := func(c uint) bool { return data[0].Effective&(1<<c) != 0 }
	return privileges{netAdmin: has(unix.CAP_NET_ADMIN), netRaw: has(unix.CAP_NET_RAW)}
}

// classify says what a failure means. iptables has few exit codes and no error codes, so
// classify looks for the sentences of both backends of iptables 1.8.
func classify(f failure, p privileges) error {
	text := f.stderr + "\n" + f.err.Error()
	said := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
	}
	e := &kernelerror.Error{Op: fmt.Sprintf("%s, %s: %s", f.family, f.backend, f.op), Err: f.err}
	advice, _, _ := strings.Cut(f.stderr, "Try `") // iptables ends each message with it
	if words := kernelerror.OneLine(advice); words != "" {
		e.Err = fmt.Errorf("%w: %s", f.err, words)
	}
	wrap := func(kind error, cure string) error {
		e.Err, e.Cure = fmt.Errorf("%w (%w)", kind, e.Err), cure
		return e
	}
	if f.backend == NFT && said("is incompatible, use 'nft' tool") {
		return wrap(kernelerror.ErrForeignTable, foreignTableCure)
	}
	permission := said("Permission denied", "Operation not permitted", "unable to initialize table", "can't initialize")
	switch {
	case said("lock file", "xtables lock") && (p.netAdmin || !permission):
		e.Cure = "the xtables lock cannot be had: mount an emptyDir where it lies (/run), or set XTABLES_LOCKFILE to a writable path; if another program holds it, try again"
	case said("insmod", "Table does not exist"),
		f.backend == Legacy && p.netAdmin && p.netRaw && said("unable to initialize table"):
		return wrap(kernelerror.ErrMissingModule, "load kernel module "+tableModule(f)+" on the node, or use the other backend (Options.Backend)")
	case permission && !p.netAdmin:
		return wrap(kernelerror.ErrPermission, "the container needs capability NET_ADMIN, and to run as user 0 so that it is effective")
	case permission && f.backend == Legacy && !p.netRaw:
		return wrap(kernelerror.ErrPermission, "iptables-legacy needs capability NET_RAW as well; add it, or set Options.Backend to nft")
	case permission:
		return wrap(kernelerror.ErrPermission, "the container has the capabilities, but not for this network namespace, or a security module forbids it")
	case errors.Is(f.err, exec.ErrNotFound), errors.Is(f.err, os.ErrNotExist):
		return wrap(kernelerror.ErrMissingBinary, "install Debian's package iptables in the image")
	case said("Couldn't load match", "Couldn't load target"):
		e.Cure = "the image lacks an iptables extension: install Debian's package iptables whole (libxtables12 and /usr/lib/*/xtables)"
	case said("missing kernel module", "No chain/target/match by that name", "Protocol not supported", "Operation not supported", "RULE_APPEND failed (No such file or directory)"):
		return wrap(kernelerror.ErrMissingModule, "load the missing kernel module on the node")
	default:
		e.Cure = "call redirect.Plan to see what is asked for, and redirect.Dump to see what stands"
	}
	return e
}

// foreignTableCure is what to do about [kernelerror.ErrForeignTable].
const foreignTableCure = "nothing was changed: another program has put rules of nftables' own kind into this table (a file for `nft -f`, a CNI plugin, a mesh or a firewall service): " +
	"look at `nft list ruleset`, let that program use a table of its own name, or set Options.Backend to legacy, whose tables lie elsewhere"

func foreignTable(f family.Family, table string, err error) error {
	return &kernelerror.Error{
		Op:   fmt.Sprintf("%s, %s: read table %s", f, NFT, table),
		Cure: foreignTableCure,
		Err:  fmt.Errorf("%w (%w)", kernelerror.ErrForeignTable, err),
	}
}

// tableModule names the kernel modules that have the tables.
func tableModule(f failure) string {
	if f.backend == NFT {
		return "nf_tables and nft_chain_nat"
	}
	if f.family == family.IPv6 {
		return "ip6table_nat, ip6table_filter and ip6table_mangle"
	}
	return "iptable_nat, iptable_filter and iptable_mangle"
}

// MissingBinary returns the error of a program that is not in PATH.
func MissingBinary(name string, b Backend, err error) error {
	return &kernelerror.Error{
		Op:   fmt.Sprintf("find %s of backend %s in PATH", name, b),
		Cure: "install Debian's package iptables in the image (it has both backends and both families)",
		Err:  fmt.Errorf("%w (%w)", kernelerror.ErrMissingBinary, err),
	}
}
