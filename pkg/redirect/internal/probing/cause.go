// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probing

import (
	"errors"
	"net"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/probe"
)

// explained gives a failed probe the cause that is likely here: the rules are as they
// should be, and the sidecar or [Try] listens on the proxy port. The sentences name
// functions and fields of package redirect. Those of package probe are for users of the
// commands.
func explained(err error) error {
	failed, ok := errors.AsType[*probe.Error](err)
	if !ok {
		return err
	}
	return &probe.Error{Target: failed.Target, Err: failed.Err, Cause: causeOf(failed)}
}

func causeOf(failed *probe.Error) string {
	is := func(kinds ...error) bool {
		return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(failed.Err, kind) })
	}
	timeout, lost := errors.AsType[net.Error](failed.Err)
	switch {
	case is(unix.ECONNREFUSED):
		return "our rules stand and something listens on the proxy port, " +
			"so a rule of another program takes the connection to where nothing listens, rejects it, or keeps it from conntrack and so from our redirect"
	case lost && timeout.Timeout():
		return "our rules stand, so a rule of another program drops the connection, " +
			"on its way out or where it arrives at the proxy port, or sends it elsewhere"
	case is(unix.ECONNRESET, probe.ErrSilent):
		return "the sidecar accepted the connection but does not take it for the probe: " +
			"its shoot CIDRs and exclusions most likely differ from Config.Shoot and Config.Exclude; give both the same"
	case is(unix.ENETUNREACH, unix.EADDRNOTAVAIL, unix.EAFNOSUPPORT):
		return "the pod has no route or address of this family, which redirect.Apply adds: " +
			"call redirect.Apply again, and see that the kernel has the family enabled (net.ipv6.conf.all.disable_ipv6)"
	case is(unix.EHOSTUNREACH):
		return "the probe was not redirected and left the pod, or a rule dropped it (`iptables -t mangle -S`, `nft list ruleset`): " +
			"the nat rules are missing, were flushed, or stand in the other iptables backend; " +
			"call redirect.Verify, then redirect.Apply to repair them"
	case failed.Cause == probe.Unexplained:
		return "call redirect.Dump in this pod to see the rules and their counters"
	default:
		return failed.Cause
	}
}

// MayReachSidecar reports whether err is that of a probe which the sidecar may have accepted
// and not taken for one. Then no rule of another program has to be the cause.
func MayReachSidecar(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, probe.ErrSilent)
}
