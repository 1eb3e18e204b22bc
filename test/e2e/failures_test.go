// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
	"github.com/shoot-proxy/proxy-client/test/wallclock"
)

// failure is one thing that is wrong in a lab which is healthy otherwise, and what a
// person is told of it.
type failure struct {
	name string
	opts lab.Options
	// apply are further flags of init-redirect.
	apply []string
	// flags returns further flags of the sidecar. It may be nil.
	flags func(*testing.T, *scene) []string
	// before makes something wrong before the sidecar starts, and after does so while it
	// runs. Both may be nil.
	before, after func(*testing.T, *scene)
	// start changes the command with which the sidecar and the check are started. It may be
	// nil.
	start func(*testing.T, *scene)
	// target is the destination; a pod's HTTP port if it is not valid.
	target netip.AddrPort

	// step is the only step of `proxy-client check` that is not ok or skipped. If it is
	// empty, all are.
	step string
	// cause is the report's word for why.
	cause string
	// warning says that the step ends with a warning and not with a failure.
	warning bool
	// says has words of the cause and of its cure.
	says []string
	// heading is that of the case in docs/debugging.md, if it is there.
	heading string
	// verify has words of `init-redirect verify`, which otherwise finds nothing. explain has
	// words of the first lines of `init-redirect dump --explain`, which otherwise say that
	// nothing is wrong.
	verify, explain []string
}

// scene is a lab with a failure in it.
type scene struct {
	*rig
	wrong   failure
	command lab.Command      // of the sidecar
	clock   *wallclock.Clock // of the sidecar and the check; nil if it is the machine's
	volume  *lab.Volume      // of the client's TLS files; nil if these are not mounted
}

// provoke builds the lab, starts the product in it, and makes wrong what f says.
func (f failure) provoke(t *testing.T) *scene {
	t.Helper()
	if !f.target.IsValid() {
		f.target = shootPod(target.HTTPPort)
	}
	s := &scene{rig: newBareRig(t, f.opts), wrong: f}
	s.apply(t, f.apply...)
	if f.before != nil {
		f.before(t, s)
	}
	var flags []string
	if f.flags != nil {
		flags = f.flags(t, s)
	}
	s.command = s.ProxyClientCommand(flags...)
	if f.start != nil {
		f.start(t, s)
	}
	var err error
	if s.sidecar, err = s.StartSidecarIn(s.Pod, s.command); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitSidecar(labtest.Context(t, hang), s.Pod, s.sidecar, "/livez"); err != nil {
		t.Fatal(err)
	}
	// Its first attempt to reach the server has ended.
	eventually(t, "the sidecar to have looked for its server", func(context.Context) error {
		if !looked.MatchString(s.sidecar.Log()) {
			return errors.New("it has not")
		}
		return nil
	})
	if f.after != nil {
		f.after(t, s)
	}
	return s
}

// looked matches what the sidecar logs at its first attempt to reach a server.
var looked = regexp.MustCompile(`"proxy-server (not )?reachable"`)

// shootPod returns a port of the first pod of the shoot.
func shootPod(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(lab.ShootPod(lab.IPv4, 1), port)
}

// checkReport is what `proxy-client check --output=json` prints.
type checkReport struct {
	Result   string `json:"result"`
	ExitCode int    `json:"exitCode"`
	Verdict  string `json:"verdict"`
	Steps    []struct {
		Name   string `json:"step"`
		Result string `json:"result"`
		Cause  string `json:"cause"`
		Found  string `json:"found"`
		Next   string `json:"next"`
	} `json:"steps"`
}

// check runs `proxy-client check` in the sidecar's container: as its user, with its
// environment and its files.
func (s *scene) check(t *testing.T, args ...string) (lab.Result, checkReport) {
	t.Helper()
	command := s.command
	command.Args = slices.Concat([]string{"check", "--output=json"}, args)
	result, _ := s.Pod.Run(labtest.Context(t, 2*hang), command) // the exit code is compared below
	var r checkReport
	if err := json.Unmarshal([]byte(result.Stdout), &r); err != nil {
		t.Fatalf("%s: exit code %d, no JSON: %v\n%s%s", command, result.Code, err, result.Stdout, result.Stderr)
	}
	return result, r
}

// String returns the steps in lines.
func (r checkReport) String() string {
	var b strings.Builder
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "%-8s %-13s %-15s %s", s.Result, s.Name, s.Cause, s.Found)
		if s.Next != "" {
			fmt.Fprintf(&b, " NEXT %s", s.Next)
		}
		b.WriteString("\n")
	}
	return b.String() + r.Verdict
}

// TestEachFailureIsNamed provokes failures one by one. `proxy-client check` names each
// cause and its cure, with the right exit code, and blames nothing else. `init-redirect
// verify` names those that are in the rules, and no others. Where nothing is wrong, both
// say so.
func TestEachFailureIsNamed(t *testing.T) {
	for _, f := range failures() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := f.provoke(t)
			s.wantNamed(t)
			s.wantVerified(t)
			s.wantExplained(t)
			if f.heading != "" {
				s.wantDocumented(t)
			}
		})
	}
}

// wantNamed runs the check, and expects what the failure says.
func (s *scene) wantNamed(t *testing.T) {
	t.Helper()
	result, got := s.check(t, s.wrong.target.String())
	t.Logf("%s", got)
	code, worst := 0, "ok"
	switch {
	case s.wrong.warning:
		code, worst = 3, "warning"
	case s.wrong.step != "":
		code, worst = 1, "failure"
	}
	if result.Code != code || got.ExitCode != code || got.Result != worst {
		t.Errorf("the check ends with exit code %d, and says %d and %s; want %d and %s", result.Code, got.ExitCode, got.Result, code, worst)
	}
	blamed := 0
	for _, step := range got.Steps {
		if step.Result == "ok" || step.Result == "skipped" {
			continue
		}
		blamed++
		if step.Name != s.wrong.step || step.Cause != s.wrong.cause || step.Result != worst {
			t.Errorf("step %s ends with %s, cause %s; want only a %s of step %s, cause %s", step.Name, step.Result, step.Cause, worst, s.wrong.step, s.wrong.cause)
		}
		if step.Next == "" {
			t.Errorf("step %s does not say what to do", step.Name)
		}
	}
	if s.wrong.step != "" && blamed == 0 {
		t.Error("all steps are ok")
	}
	s.wantBlamed(t, got)
	for _, word := range s.wrong.says {
		if !strings.Contains(got.Verdict, word) {
			t.Errorf("the verdict does not say %q: %s", word, got.Verdict)
		}
	}
}

// phrases has, for each cause, what a report says of it and of no other cause.
var phrases = map[string]string{
	"wrong_ca": "which is not in --ca-cert", "client_cert_refused": "refuses this client", "not_a_pair": "key of another certificate",
	"expired": "expired on", "not_yet_valid": "is not valid before", "clock": "node's clock says", "wrong_name": "certificate is not for",
	"wrong_mode": "or auto", "agents_port": "agents' port", "plaintext": "without TLS", "name": "nameserver",
	"connect_refused": "nothing listens at this address", "connect_timeout": "NetworkPolicies of the pod's and the server's", "silent": "hangs or is overloaded",
	"no_agent": "no agent is connected", "agent_silent": "has an agent, which has not answered", "no_agent_for_address": "--proxy-strategies",
	"refused": "target refuses", "timeout": "target does not answer", "unreachable": "no way to the target", "outside_cidrs": "no CIDR of the shoot contains",
	"cidrs_differ": "other CIDRs than", "rules_missing": "rules of init-redirect are missing", "shadowed": "the other program's rules",
	"not_running": "no sidecar runs", "max_connections": "as many as may be", "buffers_full": "for apps that do not read", "slow": "round trips",
}

// wantBlamed expects the phrase of the failure's cause in what is not ok, and no other.
func (s *scene) wantBlamed(t *testing.T, got checkReport) {
	t.Helper()
	said := ""
	for _, step := range got.Steps {
		if step.Result != "ok" && step.Result != "skipped" {
			said += step.Found + " " + step.Next + " "
		}
	}
	if s.wrong.step != "" {
		said += got.Verdict
	}
	for cause, phrase := range phrases {
		if blames := strings.Contains(said, phrase); blames != (cause == s.wrong.cause) {
			t.Errorf("the cause is %q, and the report says %q: %t (%s)\n%s", s.wrong.cause, phrase, blames, cause, said)
		}
	}
}

// wantVerified runs `init-redirect verify`, and expects what the failure says.
func (s *scene) wantVerified(t *testing.T) {
	t.Helper()
	result, _ := s.InitRedirect(labtest.Context(t, hang), "verify", s.wrong.apply...)
	t.Logf("verify: %s", result.Stderr)
	const notVerified = 4
	code := 0
	if s.wrong.verify != nil {
		code = notVerified
	}
	if result.Code != code {
		t.Errorf("verify ends with exit code %d, want %d", result.Code, code)
	}
	if blames := strings.Contains(result.Stderr, "another program"); blames != (s.wrong.cause == "shadowed") {
		t.Errorf("verify blames another program: %t", blames)
	}
	for _, word := range s.wrong.verify {
		if !strings.Contains(result.Stderr, word) {
			t.Errorf("verify does not say %q", word)
		}
	}
}

// wantExplained runs `init-redirect dump --explain`, and expects what the failure says.
func (s *scene) wantExplained(t *testing.T) {
	t.Helper()
	result, err := s.InitRedirect(labtest.Context(t, hang), "dump", append([]string{"--explain"}, s.wrong.apply...)...)
	if err != nil {
		t.Error(err)
	}
	findings, _, _ := strings.Cut(result.Stdout, "\n\n")
	t.Logf("dump: %s", findings)
	want := s.wrong.explain
	if want == nil {
		want = []string{"Everything is right"}
	}
	for _, word := range want {
		if !strings.Contains(findings, word) {
			t.Errorf("dump --explain does not say %q", word)
		}
	}
}
