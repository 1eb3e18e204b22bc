// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
)

// outcome is what became of a probe of the redirect.
type outcome int

const (
	answered outcome = iota
	refused          // at once: a rule rejects it, or it was led to a port without a listener
	silent           // the sidecar has accepted it, and does not take it for a probe
	taken            // something else has accepted it
	lost             // it left the pod, or was dropped
	noRoute          // the pod has no route or address of the family
)

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return answered
	case errors.Is(err, unix.ECONNREFUSED):
		return refused
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, probe.ErrSilent):
		return silent
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT):
		return noRoute
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, context.DeadlineExceeded), isTimeout(err),
		errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return lost
	default:
		return taken
	}
}

// probed is the result of one probe.
type probed struct {
	target  netip.AddrPort
	outcome outcome
	err     error
	took    time.Duration
}

// Commands that read the rules, which this check cannot.
const (
	readRules = "run `init-redirect verify` in the pod, which reads the rules and says what is missing, and `init-redirect dump`, which shows them with their packets: "
	debug     = "kubectl debug POD --attach --profile=netadmin --custom=debug.yaml --image=INIT-REDIRECT-IMAGE -- init-redirect verify " +
		"(debug.yaml is in README.md, \"When something does not work\")"
)

// redirect probes the redirect of each family and inside each CIDR.
//
// The first rules of the redirect are those of the probes. They come before the exemption
// of the sidecar's user, which is that of this process too.
func (c *checker) redirect(ctx context.Context) []report.Step {
	if !c.Sidecar.runs() {
		return []report.Step{{Name: report.StepRedirect, Result: report.Skipped, Found: "no sidecar runs that could answer a probe"}}
	}
	families := probe.Targets(c.CIDRs)
	inside := probe.Inside(c.CIDRs)
	inside = inside[:min(len(inside), maxInside)]
	results := make([]probed, len(families)+len(inside))
	var work sync.WaitGroup
	for i, target := range append(families, inside...) {
		work.Go(func() { results[i] = c.probeOnce(ctx, target) })
	}
	work.Wait()
	var steps []report.Step
	for i := range families {
		var of []probed
		for _, r := range results[len(families):] {
			if r.target.Addr().Is4() == families[i].Addr().Is4() {
				of = append(of, r)
			}
		}
		steps = append(steps, c.judgeFamily(ctx, results[i], of)...)
	}
	return steps
}

// probeOnce probes a target, and once more if that fails: the machine may have paused.
func (c *checker) probeOnce(ctx context.Context, target netip.AddrPort) probed {
	r := probed{target: target}
	for range 2 {
		ctx, cancel := context.WithTimeout(ctx, redirectTimeout)
		began := time.Now()
		r.err = c.probe(ctx, target)
		r.took = time.Since(began)
		cancel()
		if r.err == nil || outcomeOf(r.err) == lost {
			break
		}
	}
	r.outcome = outcomeOf(r.err)
	return r
}

// judgeFamily returns the steps about one family and its CIDRs.
func (c *checker) judgeFamily(ctx context.Context, family probed, inside []probed) []report.Step {
	step := report.Step{Name: report.StepRedirect, Target: family.target.String(), Result: report.Failure, Seconds: family.took.Seconds()}
	name := "IPv4"
	if family.target.Addr().Is6() {
		name = "IPv6"
	}
	happened := ""
	if failed, ok := errors.AsType[*probe.Error](family.err); ok {
		happened = clip.Text(failed.Err.Error(), clip.Words)
	}
	switch family.outcome {
	case answered:
		step.Result = report.OK
		step.Found = fmt.Sprintf("%s is redirected to the sidecar, as its answer shows, in %s; so are %d CIDRs", name, report.Seconds(family.took), count(inside, answered))
		return append([]report.Step{step}, c.judgeInside(ctx, inside)...)
	case refused:
		c.judgeRefused(&step, name, inside)
	case silent:
		step.Cause = report.CauseCIDRsDiffer
		step.Found = fmt.Sprintf("%s connections reach the sidecar, which does not know this probe: it has other CIDRs than this check", name)
		step.Next = "give this command the sidecar's CIDRs, or none, and it takes those of the running sidecar"
	case taken:
		step.Cause = report.CauseShadowed
		step.Found = fmt.Sprintf("%s connections are taken by another program before the sidecar gets them%s (%s)", name, c.taker(ctx, family.target), happened)
		step.Next = shadowed
	case noRoute:
		step.Cause = report.CauseNoRoute
		step.Found = fmt.Sprintf("the pod has no route or address of %s, which init-redirect adds (%s)", name, happened)
		step.Next = "see whether the init container init-redirect has run, and whether the node's kernel has the family; " + readRules + debug
	default:
		step.Cause = report.CauseRulesMissing
		step.Found = fmt.Sprintf("no rule redirects %s: a probe left the pod, or was dropped (%s). The rules of init-redirect are missing, or another program drops the connection first", name, happened)
		step.Next = "see whether the init container init-redirect has run in this pod (kubectl describe pod POD); " + readRules + debug
	}
	return []report.Step{step}
}

// judgeRefused completes the step about a family whose probe was refused at once.
//
// If only the redirect is lost, our second set of rules rejects the probe: that of the
// family on any port, and that of a CIDR on the port that follows from the CIDRs. So if
// only the family's is rejected, rules of other CIDRs are there.
func (c *checker) judgeRefused(step *report.Step, name string, inside []probed) {
	outside := c.recent("", 15*time.Minute)[string(report.CauseOutside)]
	switch {
	case len(inside) > 0 && count(inside, refused) == 0 || outside > 0:
		step.Cause = report.CauseCIDRsDiffer
		step.Found = fmt.Sprintf("the rules for %s are there, but for other CIDRs than the sidecar's: init-redirect and proxy-client have different --shoot-*-cidr or %s", name, c.Names.ExcludeCIDR)
		if outside > 0 {
			step.Found += fmt.Sprintf(". The sidecar has refused %d connections to addresses outside of its CIDRs", outside)
		}
		step.Next = fmt.Sprintf("give both containers the same CIDRs. The sidecar's are %s", list(c.CIDRs.Shoot(), maxAddresses))
		if x := c.CIDRs.Excluded(); len(x) > 0 {
			step.Next += " without " + list(x, maxAddresses)
		}
		step.Next += "; `init-redirect verify` prints those of the rules: " + debug
	default:
		step.Cause = report.CauseRulesMissing
		step.Found = fmt.Sprintf("%s connections are rejected in the pod instead of being redirected: the nat rules of init-redirect are missing (the rules that reject are there), or rules of another program come first", name)
		step.Next = readRules + debug + ". `init-redirect apply` repairs the rules."
	}
}

// judgeInside returns the steps about the CIDRs of a family whose own probe was answered.
func (c *checker) judgeInside(ctx context.Context, inside []probed) []report.Step {
	var steps []report.Step
	for _, r := range inside {
		if r.outcome == answered {
			continue
		}
		happened := clip.Text(fmt.Sprint(r.err), clip.Words)
		if failed, ok := errors.AsType[*probe.Error](r.err); ok {
			happened = clip.Text(failed.Err.Error(), clip.Words)
		}
		step := report.Step{Name: report.StepRedirect, Target: r.target.String(), Result: report.Failure, Cause: report.CauseShadowed, Seconds: r.took.Seconds(), Next: shadowed}
		step.Found = fmt.Sprintf("our rules are there, but rules of another program keep the connections of %s from them%s (%s)", c.cidrOf(r.target.Addr()), c.taker(ctx, r.target), happened)
		steps = append(steps, step)
	}
	return steps
}

const shadowed = "take the shoot's CIDRs out of the other program's rules (docs/meshes.md has the annotations of Istio and Linkerd); `init-redirect verify` names its rules: " + debug

// cidrOf returns the shoot CIDR that contains an address.
func (c *checker) cidrOf(a netip.Addr) string {
	for _, p := range c.CIDRs.Shoot() {
		if p.Contains(a) {
			return p.String()
		}
	}
	return a.String()
}

func count(all []probed, is outcome) int {
	n := 0
	for _, r := range all {
		if r.outcome == is {
			n++
		}
	}
	return n
}

// taker names the program that accepts a connection to target in this pod, as far as its
// port tells. It is empty if no socket of the pod has accepted it.
func (c *checker) taker(ctx context.Context, target netip.AddrPort) string {
	ctx, cancel := context.WithTimeout(ctx, redirectTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", target.String())
	if err != nil {
		return ""
	}
	defer conn.Close()
	at, found, err := sockdiag.Acceptor(conn.LocalAddr().(*net.TCPAddr).AddrPort())
	if err != nil || !found {
		return ""
	}
	return fmt.Sprintf(", at %s%s", at, ownerOf(at.Port()))
}

// ownerOf says to which program a port usually belongs.
func ownerOf(port uint16) string {
	const istioFirst, istioLast, linkerd = 15000, 15090, 4140
	switch {
	case port >= istioFirst && port <= istioLast:
		return ", a port of Istio"
	case port == linkerd:
		return ", a port of Linkerd"
	default:
		return ""
	}
}
