// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
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
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, context.DeadlineExceeded), serverconn.TimedOut(err),
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

// The commands that read the rules, which this check cannot.
const (
	inDebugContainer = "kubectl debug POD --attach --profile=netadmin --custom=debug.yaml --image=INIT-REDIRECT-IMAGE -- "
	readRules        = inDebugContainer + "init-redirect verify"
	explainRules     = inDebugContainer + "init-redirect dump --explain"
)

// What to do, for the first sentence of Next. The rest says how.
const (
	letVerify = "let `init-redirect verify` read the rules and say what is missing"
	shadowed  = "let `init-redirect verify` name the other program's rules, and take the shoot's CIDRs out of them. docs/meshes.md has the annotations of Istio and Linkerd."
	howVerify = " It needs NET_ADMIN: docs/debugging.md, \"The rules of a running pod\", has debug.yaml. `init-redirect dump --explain` says what each rule does, and whose it is."
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
	of := func(family probed) []probed {
		return slices.DeleteFunc(slices.Clone(results[len(families):]), func(r probed) bool {
			return r.target.Addr().Is4() != family.target.Addr().Is4()
		})
	}
	var steps []report.Step
	for _, family := range results[:len(families)] {
		steps = append(steps, c.judgeFamily(ctx, family, nameOf(family), of(family))...)
	}
	if len(families) > 1 && len(steps) == len(families) && steps[0].Result == report.Failure && steps[0].Cause == steps[1].Cause {
		return c.judgeFamily(ctx, results[0], "IPv4 and IPv6", of(results[0]))
	}
	return steps
}

// nameOf returns the name of a probe's family.
func nameOf(r probed) string {
	if r.target.Addr().Is6() {
		return "IPv6"
	}
	return "IPv4"
}

// probeOnce probes a target, and once more if that fails: the machine may have paused.
func (c *checker) probeOnce(ctx context.Context, target netip.AddrPort) probed {
	r := probed{target: target}
	for range 2 {
		ctx, cancel := context.WithTimeout(ctx, redirectTimeout)
		began := time.Now()
		r.err = c.Probe(ctx, target)
		r.took = time.Since(began)
		cancel()
		if r.err == nil || outcomeOf(r.err) == lost {
			break
		}
	}
	r.outcome = outcomeOf(r.err)
	return r
}

// judgeFamily returns the steps about a family, which has a name, and its CIDRs.
func (c *checker) judgeFamily(ctx context.Context, family probed, name string, inside []probed) []report.Step {
	step := report.Step{
		Name: report.StepRedirect, Target: family.target.String(), Result: report.Failure, Seconds: family.took.Seconds(),
		Next: letVerify + "." + howVerify, Command: readRules,
	}
	happened := whatHappened(family)
	switch family.outcome {
	case answered:
		step.Result, step.Next, step.Command = report.OK, "", ""
		step.Found = fmt.Sprintf("%s is redirected to the sidecar, which answered in %s; so are %d of %d CIDRs", name, report.Seconds(family.took), count(inside, answered), len(inside))
		return append([]report.Step{step}, c.judgeInside(ctx, inside)...)
	case refused:
		c.judgeRefused(&step, name, inside)
	case silent:
		step.Cause = report.CauseCIDRsDiffer
		step.Found = fmt.Sprintf("connections of %s reach the sidecar, which does not know this probe: it has other CIDRs than this check", name)
		step.Next, step.Command = "give this command the sidecar's CIDRs, or none: then it takes those of the running sidecar", ""
	case taken:
		step.Cause = report.CauseShadowed
		step.Found = fmt.Sprintf("another program takes connections of %s before the sidecar gets them%s (%s)", name, c.taker(ctx, family.target), happened)
		step.Next = shadowed + howVerify
	case noRoute:
		step.Cause = report.CauseNoRoute
		step.Found = fmt.Sprintf("the pod has no route or address of %s, which init-redirect adds (%s)", name, happened)
		step.Next = "see whether the init container init-redirect has run in this pod, and whether the node's kernel has the family. Then " + letVerify + "." + howVerify
	default:
		step.Cause = report.CauseRulesMissing
		step.Found = fmt.Sprintf("connections of %s do not reach the sidecar: a probe left the pod, or was dropped (%s). The rules of init-redirect are missing, or another program drops the connection first", name, happened)
		step.Next = "see whether the init container init-redirect has run in this pod, and let `init-redirect dump --explain` say which rule is missing or drops the connection." + howVerify
		step.Command = explainRules
	}
	return []report.Step{step}
}

// whatHappened says how a probe failed.
func whatHappened(r probed) string {
	if failed, ok := errors.AsType[*probe.Error](r.err); ok {
		return clip.Text(failed.Err.Error(), clip.Clause)
	}
	return clip.Text(fmt.Sprint(r.err), clip.Clause)
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
		step.Next += ". `init-redirect verify` prints those of the rules." + howVerify
	default:
		step.Cause = report.CauseRulesMissing
		step.Found = fmt.Sprintf("connections of %s are rejected in the pod instead of being redirected: the nat rules of init-redirect are missing, or rules of another program come first. The rules that reject are there", name)
		step.Next = letVerify + ", and repair them with `init-redirect apply` and the init container's flags." + howVerify
	}
}

// judgeInside returns the step about the CIDRs of a family whose own probe was answered, if
// one of theirs was not.
func (c *checker) judgeInside(ctx context.Context, inside []probed) []report.Step {
	lost := slices.DeleteFunc(slices.Clone(inside), func(r probed) bool { return r.outcome == answered })
	if len(lost) == 0 {
		return nil
	}
	var cidrs []string
	for _, r := range lost {
		cidrs = append(cidrs, c.cidrOf(r.target.Addr()))
	}
	first := lost[0]
	return []report.Step{{
		Name: report.StepRedirect, Target: first.target.String(), Result: report.Failure, Cause: report.CauseShadowed, Seconds: first.took.Seconds(),
		Found: fmt.Sprintf("our rules are there, but rules of another program keep the connections of %s from them%s (%s)",
			join(cidrs, maxAddresses), c.taker(ctx, first.target), whatHappened(first)),
		Next: shadowed + howVerify, Command: readRules,
	}}
}

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
