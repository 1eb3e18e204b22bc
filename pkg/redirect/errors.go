// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// KernelError is something that the kernel, the permissions or the image do not
// allow. Cure says what to change.
type KernelError struct {
	// Op is what was attempted, and on what.
	Op string
	// Cure is what to do about it.
	Cure string
	// Err is what happened.
	Err error
}

// Error says what was attempted, what happened and what to do.
func (e *KernelError) Error() string {
	// Children end their sentences with a newline, inside of our brackets.
	return strings.ReplaceAll(oneLine(fmt.Sprintf("%s: %v: %s", e.Op, e.Err, e.Cure)), " )", ")")
}

// Unwrap returns what happened.
func (e *KernelError) Unwrap() error { return e.Err }

// CollisionError is an address that this pod needs inside of a shoot CIDR: the
// redirect would take it away. Nothing was changed.
type CollisionError struct {
	// Address is what collides.
	Address netip.Addr
	// Role is what the address is to this pod.
	Role string
	// CIDR is the shoot CIDR that contains it, after aggregation.
	CIDR netip.Prefix

	alone bool // the shoot has no other address, so it cannot be excluded
}

// Error returns one sentence.
func (e *CollisionError) Error() string {
	return fmt.Sprintf("shoot CIDR %s: %s", e.CIDR, e.Problem())
}

// Problem is the sentence without the CIDR in front, for callers that know how
// the user wrote it.
func (e *CollisionError) Problem() string {
	problem := fmt.Sprintf("contains %s, %s: a range of the seed is no range of the shoot; correct it", e.Address, e.Role)
	if !e.alone {
		problem += fmt.Sprintf(", or exclude %s", host(e.Address))
	}
	return problem
}

// VerifyError lists what is wrong with a redirect that ought to work.
type VerifyError struct {
	// Problems holds one sentence each.
	Problems []string
}

// shownProblems bounds how many sentences an error has: each of hundreds of
// CIDRs can have several.
const shownProblems = 8

// Error joins the first problems, and counts the others.
func (e *VerifyError) Error() string {
	shown, cure := e.Problems, " (redirect.Apply, with the same Config, repairs rules)"
	if more := len(shown) - shownProblems; more > 0 {
		shown = append(slices.Clone(shown[:shownProblems]), fmt.Sprintf("and %d more", more))
	}
	if slices.Equal(e.Problems, []string{nothingStands}) {
		cure = "" // in the wrong namespace it would do harm
	}
	return "the redirect is not as it should be" + cure + ": " + strings.Join(shown, "; ")
}

// Errors that a [*KernelError] can wrap.
var (
	// ErrPermission: a capability is missing.
	ErrPermission = errors.New("permission denied")
	// ErrMissingBinary: a program is not in PATH.
	ErrMissingBinary = errors.New("program not found")
	// ErrMissingModule: the kernel lacks a feature.
	ErrMissingModule = errors.New("not supported by this kernel")
	// ErrForeignTable: a table that iptables-nft cannot show whole.
	ErrForeignTable = errors.New("a table holds what iptables cannot show")
	// ErrIPv6Disabled: an IPv6 CIDR, and a kernel that refuses IPv6.
	ErrIPv6Disabled = errors.New("IPv6 is disabled in this kernel")
)

// failure is a child that failed, before anybody knows why.
type failure struct {
	family  Family
	backend Backend
	op      string
	stderr  string
	err     error
}

// privileges are the capabilities that iptables may need, in the user
// namespace of this process.
type privileges struct{ netAdmin, netRaw bool }

func capabilities() privileges {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return privileges{true, true} // nothing to blame on them
	}
	has := func(c uint) bool { return data[0].Effective&(1<<c) != 0 }
	return privileges{netAdmin: has(unix.CAP_NET_ADMIN), netRaw: has(unix.CAP_NET_RAW)}
}

// classify says once, for every child, what a failure means. iptables has few
// exit codes and no error codes, so its sentences have to do; both backends of
// 1.8 are known here.
func classify(f failure, p privileges) error {
	text := f.stderr + "\n" + f.err.Error()
	said := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	e := &KernelError{Op: fmt.Sprintf("%s, %s: %s", f.family, f.backend, f.op), Err: f.err}
	advice, _, _ := strings.Cut(f.stderr, "Try `") // what iptables adds to everything
	if words := oneLine(advice); words != "" {
		e.Err = fmt.Errorf("%w: %s", f.err, words)
	}
	wrap := func(kind error, cure string) error {
		e.Err, e.Cure = fmt.Errorf("%w (%w)", kind, e.Err), cure
		return e
	}
	if f.backend == BackendNFT && said("is incompatible, use 'nft' tool") {
		return wrap(ErrForeignTable, foreignTableCure)
	}
	permission := said("Permission denied", "Operation not permitted", "unable to initialize table", "can't initialize")
	switch {
	case said("lock file", "xtables lock") && (p.netAdmin || !permission):
		e.Cure = "the xtables lock cannot be had: mount an emptyDir where it lies (/run), or set XTABLES_LOCKFILE to a writable path; if another program holds it, try again"
	case said("insmod", "Table does not exist"),
		f.backend == BackendLegacy && p.netAdmin && p.netRaw && said("unable to initialize table"):
		return wrap(ErrMissingModule, "load kernel module "+tableModule(f)+" on the node, or use the other backend (Options.Backend)")
	case permission && !p.netAdmin:
		return wrap(ErrPermission, "the container needs capability NET_ADMIN, and to run as user 0 so that it is effective")
	case permission && f.backend == BackendLegacy && !p.netRaw:
		return wrap(ErrPermission, "iptables-legacy needs capability NET_RAW as well; add it, or set Options.Backend to nft")
	case permission:
		return wrap(ErrPermission, "the container has the capabilities, but not for this network namespace, or a security module forbids it")
	case errors.Is(f.err, exec.ErrNotFound), errors.Is(f.err, os.ErrNotExist):
		return wrap(ErrMissingBinary, "install Debian's package iptables in the image")
	case said("Couldn't load match", "Couldn't load target"):
		e.Cure = "the image lacks an iptables extension: install Debian's package iptables whole (libxtables12 and /usr/lib/*/xtables)"
	case said("missing kernel module", "No chain/target/match by that name", "Protocol not supported", "Operation not supported", "RULE_APPEND failed (No such file or directory)"):
		return wrap(ErrMissingModule, "load the missing kernel module on the node")
	default:
		e.Cure = "call redirect.Plan to see what is asked for, and redirect.Dump to see what stands"
	}
	return e
}

// foreignTableCure is what to do about [ErrForeignTable].
const foreignTableCure = "nothing was changed: another program has put rules of nftables' own kind into this table (a file for `nft -f`, a CNI plugin, a mesh or a firewall service): " +
	"look at `nft list ruleset`, let that program use a table of its own name, or set Options.Backend to legacy, whose tables lie elsewhere"

func foreignTable(f Family, table string, err error) error {
	return &KernelError{
		Op:   fmt.Sprintf("%s, %s: read table %s", f, BackendNFT, table),
		Cure: foreignTableCure,
		Err:  fmt.Errorf("%w (%w)", ErrForeignTable, err),
	}
}

// tableModule names what gives a kernel the tables.
func tableModule(f failure) string {
	if f.backend == BackendNFT {
		return "nf_tables and nft_chain_nat"
	}
	if f.family == IPv6 {
		return "ip6table_nat, ip6table_filter and ip6table_mangle"
	}
	return "iptable_nat, iptable_filter and iptable_mangle"
}

func missingBinary(name string, b Backend, err error) error {
	return &KernelError{
		Op:   fmt.Sprintf("find %s of backend %s in PATH", name, b),
		Cure: "install Debian's package iptables in the image (it has both backends and both families)",
		Err:  fmt.Errorf("%w (%w)", ErrMissingBinary, err),
	}
}

// oneLine makes a sentence of what children write on several lines.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
