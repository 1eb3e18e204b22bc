// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/status"
)

// TestCausesOfALostRedirect: what became of the probes of a family and inside its CIDRs
// tells missing rules, other CIDRs and another program's rules apart.
func TestCausesOfALostRedirect(t *testing.T) {
	t.Parallel()
	refused := &probe.Error{Err: os.NewSyscallError("connect", unix.ECONNREFUSED)}
	left := &probe.Error{Err: context.DeadlineExceeded}
	reset := &probe.Error{Err: os.NewSyscallError("read", unix.ECONNRESET)}
	noAddress := &probe.Error{Err: os.NewSyscallError("connect", unix.EADDRNOTAVAIL)}
	foreign := &probe.Error{Err: errOther}
	for _, tc := range []struct {
		name           string
		family, inside error
		small          bool // the CIDR has no probe inside
		failures       []status.Failure
		cause          report.Cause // empty if all is well
		words          string
	}{
		{name: "it works"},
		{name: "the nat rules are missing", family: refused, inside: refused, cause: report.CauseRulesMissing, words: "init-redirect apply"},
		{name: "the nat rules are missing, and no CIDR has a probe", family: refused, small: true, cause: report.CauseRulesMissing, words: "init-redirect verify"},
		{name: "rules of other CIDRs", family: refused, inside: left, cause: report.CauseCIDRsDiffer, words: "give both containers the same CIDRs"},
		{name: "rules of more CIDRs, as refused connections show", family: refused, small: true, failures: []status.Failure{{Time: time.Now(), Reason: "outside_cidrs", Times: 5}}, cause: report.CauseCIDRsDiffer, words: "refused 5 connections"},
		{name: "a sidecar of other CIDRs", family: reset, inside: reset, cause: report.CauseCIDRsDiffer, words: "than this check"},
		{name: "no rules", family: left, inside: left, cause: report.CauseRulesMissing, words: "has run in this pod"},
		{name: "another program takes all", family: foreign, inside: foreign, cause: report.CauseShadowed, words: "docs/meshes.md"},
		{name: "another program takes a CIDR", inside: refused, cause: report.CauseShadowed, words: "100.64.0.0/12"},
		{name: "another program drops a CIDR", inside: left, cause: report.CauseShadowed, words: "100.64.0.0/12"},
		{name: "no address of the family", family: noAddress, inside: noAddress, cause: report.CauseNoRoute, words: "IPv4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.failures = tc.failures
			if tc.small {
				w.CIDRs = cidrs(t, "100.64.3.7/32")
			}
			var mu sync.Mutex
			probes := 0
			w.Probe = func(_ context.Context, target netip.AddrPort) error {
				mu.Lock()
				defer mu.Unlock()
				probes++
				if target == probe.Target4(w.CIDRs) {
					return tc.family
				}
				return tc.inside
			}
			got := w.run(t)
			for _, s := range got.Steps {
				if blamed := s.Result == report.Failure || s.Result == report.Warning; !blamed {
					continue
				}
				if s.Name != report.StepRedirect || s.Cause != tc.cause || s.Result != report.Failure {
					t.Errorf("step %s is a %s of cause %s, want a failure of step redirect, cause %q", s.Name, s.Result, s.Cause, tc.cause)
				}
				if text := s.Found + " " + s.Next; !strings.Contains(text, tc.words) {
					t.Errorf("the step does not say %q: %s", tc.words, text)
				}
			}
			if wanted := tc.cause != ""; wanted != (got.Result == report.Failure) || probes == 0 {
				t.Errorf("after %d probes the result is %s:\n%s", probes, got.Result, textOfReport(t, got))
			}
		})
	}
}

// Both families with one cause share a step.
func TestBothFamiliesShareAStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.CIDRs = cidrs(t, "100.64.0.0/12", "fd00:10::/48")
	w.Probe = func(context.Context, netip.AddrPort) error {
		return &probe.Error{Err: os.NewSyscallError("connect", unix.ECONNREFUSED)}
	}
	if got := w.run(t); !strings.Contains(got.Verdict, "1 failure") || !strings.Contains(got.Verdict, "IPv4 and IPv6") {
		t.Error(got.Verdict)
	}
}

// TestTheProgramThatTakesConnections: a program in the pod that accepts the probe is named
// by its address.
func TestTheProgramThatTakesConnections(t *testing.T) {
	t.Parallel()
	l := listen(t)
	serve(t, l, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	w := newWorld(t)
	c := &checker{Config: w.Config.withDefaults()}
	at := netip.MustParseAddrPort(l.Addr().String())
	if got, want := c.taker(t.Context(), at), ", at "+at.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.taker(t.Context(), netip.AddrPortFrom(at.Addr(), closedPort(t))); got != "" {
		t.Errorf("nothing accepts the connection, and it is said to be taken%s", got)
	}
	if got := ownerOf(15001); !strings.Contains(got, "Istio") {
		t.Errorf("the port of Istio's proxy is said to be%s", got)
	}
}

// TestOutcomesOfRealProbes: what real connections end with is told apart.
func TestOutcomesOfRealProbes(t *testing.T) {
	t.Parallel()
	closed := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), closedPort(t))
	if got := outcomeOf(probe.Check(t.Context(), closed)); got != refused {
		t.Errorf("nothing listens, and the outcome is %d", got)
	}
	answer := func(send string) outcome {
		l := listen(t)
		serve(t, l, func(c net.Conn) { _, _ = io.WriteString(c, send) })
		return outcomeOf(probe.Check(t.Context(), netip.MustParseAddrPort(l.Addr().String())))
	}
	if got := answer("SSH-2.0\n"); got != taken {
		t.Errorf("another program answers, and the outcome is %d", got)
	}
	if got := answer(""); got != silent {
		t.Errorf("the connection is closed, and the outcome is %d", got)
	}
	if got := answer("shoot-proxy probe 192.0.2.1:20000\n"); got != taken {
		t.Errorf("the answer is about another destination, and the outcome is %d", got)
	}
}

func cidrs(t *testing.T, values ...string) *cidr.Set {
	t.Helper()
	entries, err := cidr.Parse("--shoot-pod-cidr", values)
	must(t, err)
	set, err := cidr.New(entries, nil)
	must(t, err)
	return set
}
