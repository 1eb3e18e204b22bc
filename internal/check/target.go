// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/check/target"
)

// Target is a destination that an app wants to reach.
type Target = target.Target

// destination is one address of a target.
type destination struct {
	target Target
	addr   netip.AddrPort
	ways   []*path // that have led there
}

// destinations returns the addresses of the targets that the sidecar would dial, and the
// steps about all of them.
func (c *checker) destinations(ctx context.Context) ([]destination, []report.Step) {
	var all []destination
	var steps []report.Step
	for _, t := range c.Targets {
		step := report.Step{Name: report.StepDestination, Target: t.Text}
		addrs, note := []netip.Addr{t.Addr}, ""
		if !t.Addr.IsValid() {
			var err error
			began := time.Now()
			ctx, cancel := context.WithTimeout(ctx, nameTimeout)
			addrs, err = c.resolver.LookupNetIP(ctx, "ip", t.Host)
			cancel()
			if err != nil {
				steps = append(steps, unresolvedTarget(step, t.Host, time.Since(began), err))
				continue
			}
			note = fmt.Sprintf("the pod's resolver says %s; the app has to use an address, because no name is resolved in the shoot. ", list(addrs, maxAddresses))
		}
		found := c.inside(t, addrs, &step)
		step.Found = note + step.Found
		all, steps = append(all, found...), append(steps, step)
	}
	return all, steps
}

// inside returns those of a target's addresses that the sidecar would dial, and completes
// the step about them.
func (c *checker) inside(t Target, addrs []netip.Addr, step *report.Step) []destination {
	var in []destination
	for _, a := range addrs {
		at := netip.AddrPortFrom(a.Unmap(), t.Port)
		if slices.Contains(c.Listen, at) {
			step.Result, step.Cause = report.Failure, report.CauseLoop
			step.Found = "this is the sidecar's own listener"
			step.Next = "check the address that the app connects to"
			return nil
		}
		entry, is := c.CIDRs.Covering(at.Addr())
		if !is {
			continue
		}
		if len(in) == 0 {
			step.Result, step.Found = report.OK, fmt.Sprintf("in %s %s", entry.List, entry.Prefix)
		}
		in = append(in, destination{target: t, addr: at})
	}
	if len(in) > 0 {
		return in[:min(len(in), maxAddresses)]
	}
	step.Result, step.Cause = report.Failure, report.CauseOutside
	step.Found = fmt.Sprintf("no CIDR of the shoot contains %s, so an app's connection to it is not redirected, and goes to the network of the seed; the CIDRs are %s",
		list(addrs, maxAddresses), list(c.CIDRs.Shoot(), maxInside))
	for _, x := range c.CIDRs.Excluded() {
		if slices.ContainsFunc(addrs, x.Contains) {
			step.Found = fmt.Sprintf("%s %s excludes %s, so an app's connection to it is not redirected, and goes to the network of the seed",
				c.Names.ExcludeCIDR, x, list(addrs, maxAddresses))
			step.Next = fmt.Sprintf("correct the target, or %s of both containers", c.Names.ExcludeCIDR)
			return nil
		}
	}
	step.Next = "correct the target, or give both containers the shoot's CIDRs as they are"
	return nil
}

// list returns the elements for a sentence, most of them at most.
func list[T fmt.Stringer](all []T, most int) string {
	var b strings.Builder
	for i, one := range all {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(all)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(one.String())
	}
	return b.String()
}
