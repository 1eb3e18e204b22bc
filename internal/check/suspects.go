// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	apiPort     = 443
	dnsPort     = 53
	kubeletPort = 10250
	// dnsOffset is the place of the DNS service in the service CIDR by the habit of
	// kubeadm and others: 10.96.0.10 in 10.96.0.0/12.
	dnsOffset = 10
	// maxSuspects bounds the dials.
	maxSuspects = 12
	// nodesTried is how many addresses of a node CIDR are tried, from the first on.
	nodesTried = 4
)

// suspect is a destination that most shoots have.
type suspect struct {
	what string
	addr netip.AddrPort
}

// usual returns the suspects of the lists of CIDRs.
func (c *checker) usual() []suspect {
	var all []suspect
	add := func(what string, p netip.Prefix, offset int, port uint16) {
		a := p.Addr()
		for range offset {
			a = a.Next()
		}
		if p.Contains(a) && c.CIDRs.Contains(a) && len(all) < maxSuspects {
			all = append(all, suspect{what, netip.AddrPortFrom(a, port)})
		}
	}
	for _, p := range c.Services {
		add("the API server's service", p, 1, apiPort)
		add("the DNS service", p, dnsOffset, dnsPort)
	}
	for _, p := range c.Nodes {
		for i := range nodesTried {
			add("a kubelet", p, i+1, kubeletPort)
		}
	}
	return all
}

// suspects dials the usual targets of a shoot. It is no failure if some do not answer:
// their addresses are guesses.
func (c *checker) suspects(ctx context.Context, paths []*path) []report.Step {
	paths = withAgent(paths)
	if len(paths) == 0 {
		return nil
	}
	all := c.usual()
	results := make([]dialled, len(all))
	var work sync.WaitGroup
	for i, s := range all {
		work.Go(func() { results[i] = paths[0].dialTarget(ctx, destination{addr: s.addr}) })
	}
	work.Wait()
	var steps []report.Step
	served := 0
	for i, s := range all {
		step := report.Step{Name: report.StepSuspects, Target: s.addr.String(), Result: report.OK, Seconds: results[i].took.Seconds()}
		switch err := results[i].err; {
		case err == nil:
			served++
			step.Found = fmt.Sprintf("%s: connected in %s", s.what, report.Seconds(results[i].took))
		case err.Reason == tunnel.ReasonRefused:
			step.Found = fmt.Sprintf("%s: the host is there, and refuses the connection. The address is a guess", s.what)
		default:
			step.Found = fmt.Sprintf("%s: no connection (%s). The address is a guess", s.what, err.Reason)
		}
		steps = append(steps, step)
	}
	if len(all) > 0 && served == 0 {
		steps = append(steps, report.Step{
			Name: report.StepSuspects, Result: report.Warning, Cause: report.Cause(tunnel.ReasonUnreachable), Found: "none of the usual targets of a shoot answers. Their addresses follow from the CIDRs by habit",
			Next: "check an address that you know: proxy-client check HOST:PORT. See whether the CIDRs are those of this shoot.",
		})
	}
	return steps
}
