// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/podnetwork"
)

// KernelError is something that the kernel, the permissions or the image do not allow. Its
// fields are Op (what was attempted, and on what), Cure (what to do about it) and Err (what
// happened).
type KernelError = kernelerror.Error

// Errors that a [*KernelError] can wrap.
var (
	// ErrPermission: a capability is missing.
	ErrPermission = kernelerror.ErrPermission
	// ErrMissingBinary: a program is not in PATH.
	ErrMissingBinary = kernelerror.ErrMissingBinary
	// ErrMissingModule: the kernel lacks a feature.
	ErrMissingModule = kernelerror.ErrMissingModule
	// ErrForeignTable: a table that iptables-nft cannot show as a whole.
	ErrForeignTable = kernelerror.ErrForeignTable
	// ErrIPv6Disabled: there is an IPv6 CIDR, and the kernel refuses IPv6.
	ErrIPv6Disabled = kernelerror.ErrIPv6Disabled
	// ErrBusy: another process works on the rules of the namespace, and did not finish
	// in time.
	ErrBusy = kernelerror.ErrBusy
)

// CollisionError is an address inside of a shoot CIDR that this pod needs: the redirect
// would take it away. Nothing was changed.
type CollisionError struct {
	// Address is the address that the pod needs.
	Address netip.Addr
	// Role is what the address is to this pod.
	Role string
	// CIDR is the shoot CIDR that contains it, after aggregation.
	CIDR netip.Prefix

	alone bool // the shoot has no other address, so this one cannot be excluded
}

// Error returns one sentence.
func (e *CollisionError) Error() string {
	return fmt.Sprintf("shoot CIDR %s: %s", e.CIDR, e.Problem())
}

// Problem returns the sentence without the CIDR, for callers that know how the user wrote
// the CIDR.
func (e *CollisionError) Problem() string {
	problem := fmt.Sprintf("contains %s, %s: a range of the seed is no range of the shoot; correct it", e.Address, e.Role)
	if !e.alone {
		problem += fmt.Sprintf(", or exclude %s", family.Host(e.Address))
	}
	return problem
}

// collision returns a [*CollisionError] for the first address that the redirect would take
// away, and nil if there is none.
func collision(set *cidr.Set, needed []podnetwork.NeededAddress) error {
	for _, n := range needed {
		address := n.Address.Unmap().WithZone("")
		if !set.Contains(address) {
			continue
		}
		e := &CollisionError{Address: address, Role: n.Role, alone: !set.RemainsWithout(family.Host(address))}
		for _, p := range set.Shoot() {
			if p.Contains(address) {
				e.CIDR = p
			}
		}
		return e
	}
	return nil
}

// VerifyError lists what is wrong with a redirect that should work.
type VerifyError struct {
	// Problems holds one sentence each.
	Problems []string
	// RulesStand says that the rules are as they should be. Then Apply repairs nothing:
	// the cause is elsewhere, usually in rules of another program.
	RulesStand bool
}

// shownProblems is how many sentences an error has at most: each of hundreds of CIDRs can
// have several.
const shownProblems = 8

// Error joins the first problems, and counts the others.
func (e *VerifyError) Error() string {
	shown, cure := e.Problems, " (redirect.Apply, with the same Config, repairs rules)"
	if more := len(shown) - shownProblems; more > 0 {
		shown = append(slices.Clone(shown[:shownProblems]), fmt.Sprintf("and %d more", more))
	}
	if e.RulesStand || slices.Equal(e.Problems, []string{nothingInstalled}) {
		cure = "" // Apply changes nothing, or would do harm in the wrong namespace
	}
	return "the redirect is not as it should be" + cure + ": " + strings.Join(shown, "; ")
}
