// SPDX-License-Identifier: Apache-2.0

// Package report is the result of a check: steps, each with what was found and what to do
// next.
//
// It owns the words that are an interface to other programs: the names of steps, results
// and causes, the fields of the JSON document, and the exit codes. It also owns the form of
// the text for people.
//
//	r := report.Report{Steps: steps}
//	r.Finish()
//	r.WriteText(os.Stdout)
//
// It knows nothing of what is checked, and measures nothing.
package report

import (
	"fmt"
	"strings"
	"time"
)

// Result is what became of a step.
type Result string

// The results. A report has the worst of its steps: a failure, else a warning, else ok.
const (
	OK      Result = "ok"
	Warning Result = "warning"
	Failure Result = "failure"
	Skipped Result = "skipped" // a step before it failed, or there is nothing to look at
)

// The exit codes of a report.
const (
	ExitOK       = 0
	ExitFailure  = 1
	ExitWarnings = 3
)

// The names of the steps, in the order of a report.
const (
	StepConfiguration = "configuration" // what is checked, and where the configuration is from
	StepSidecar       = "sidecar"       // the running sidecar, and what it says itself
	StepDestination   = "destination"   // the target is inside the CIDRs
	StepRedirect      = "redirect"      // the rules lead to the sidecar
	StepFiles         = "files"         // the CA file and the client certificate
	StepName          = "name"          // the server's name
	StepConnect       = "connect"       // TCP or the Unix socket
	StepTLS           = "tls"           // handshake and certificate of the server
	StepClock         = "clock"         // this node's clock, by certificates and servers
	StepMode          = "mode"          // which protocol the server speaks
	StepAgent         = "agent"         // an agent answers through the server
	StepExit          = "exit"          // a tunnel to the exit, its certificate, and ours
	StepDial          = "dial"          // the target answers through the server
	StepAnswer        = "answer"        // what the target speaks
	StepTiming        = "timing"        // ten dials, and ten round trips to the agent
	StepSuspects      = "suspects"      // usual targets of a shoot
)

// Steps returns the names of all steps, in the order of a report.
func Steps() []string {
	return []string{
		StepConfiguration, StepSidecar, StepDestination, StepRedirect, StepFiles, StepName, StepConnect, StepTLS, StepClock,
		StepMode, StepAgent, StepExit, StepDial, StepAnswer, StepTiming, StepSuspects,
	}
}

// Report is the result of a check.
type Report struct {
	Version string    `json:"version"`
	Checked time.Time `json:"checked"`
	// Configuration says where the configuration comes from.
	Configuration string `json:"configuration"`
	// Targets are those that were asked for.
	Targets  []string `json:"targets"`
	Result   Result   `json:"result"`
	ExitCode int      `json:"exitCode"`
	// Verdict is one sentence: what is wrong, and what to do first.
	Verdict string `json:"verdict"`
	Steps   []Step `json:"steps"`
}

// Step is one step about one subject.
type Step struct {
	Name string `json:"step"`
	// Server is the configured name of a proxy-server, and Address the address or path.
	Server  string `json:"server,omitempty"`
	Address string `json:"address,omitempty"`
	// Target is a destination in the shoot, or the target of a probe.
	Target string `json:"target,omitempty"`
	Result Result `json:"result"`
	// Cause is a word for programs. It is empty if Result is Skipped, and if it is OK: except
	// for CauseTargetSilent, which some targets are by their protocol.
	Cause Cause `json:"cause,omitempty"`
	// Found says what was found and measured, in words.
	Found string `json:"found"`
	// Next says what to do. It is empty if there is nothing to do. Its first sentence is
	// what to do first.
	Next string `json:"next,omitempty"`
	// Command is a command line for what Next says, if there is one.
	Command string `json:"command,omitempty"`
	// Seconds is how long the step took, if that says something.
	Seconds float64 `json:"seconds,omitempty"`
	Mode    string  `json:"mode,omitempty"`
	ALPN    string  `json:"alpn,omitempty"`
	// Certificates are those of the file, the server or the target, the leaf first.
	Certificates []Certificate `json:"certificates,omitempty"`
	// Times are of several tries.
	Times *Times `json:"times,omitempty"`
}

// subject returns what the step is about, for the beginning of a sentence.
func (s Step) subject() string {
	switch {
	case s.Target != "":
		return s.Target
	case s.Address != "" && s.Server != "" && s.Address != s.Server && !isSocketOf(s.Server, s.Address):
		return s.Server + " at " + s.Address
	case s.Server != "":
		return s.Server
	default:
		return s.Address
	}
}

func isSocketOf(server, path string) bool { return server == "unix://"+path }

// Finish sets the result, the exit code and the verdict.
func (r *Report) Finish() {
	var failures, warnings []Step
	done := 0
	still := "If an app still fails, let `init-redirect dump --explain` read the rules, which this check cannot."
	for _, s := range r.Steps {
		if s.Cause == CauseTargetSilent {
			still = s.Target + " accepts connections, and has answered neither TLS nor HTTP: if the app speaks one of these, see whether the target's process hangs."
		}
		switch s.Result {
		case Failure:
			failures = append(failures, s)
		case Warning:
			warnings = append(warnings, s)
		case OK:
			done++
		case Skipped:
		}
	}
	switch {
	case len(failures) > 0:
		r.Result, r.ExitCode = Failure, ExitFailure
		r.Verdict = verdict("failure", failures)
	case len(warnings) > 0:
		r.Result, r.ExitCode = Warning, ExitWarnings
		r.Verdict = verdict("warning", warnings)
	default:
		r.Result, r.ExitCode = OK, ExitOK
		r.Verdict = fmt.Sprintf("All %d steps are ok. %s", done, still)
	}
}

// verdict returns the sentence about steps of one kind, at least one.
func verdict(kind string, steps []Step) string {
	first := steps[0]
	sentence := fmt.Sprintf("1 %s, in step %s", kind, first.Name)
	if len(steps) > 1 {
		sentence = fmt.Sprintf("%d %ss, the first in step %s", len(steps), kind, first.Name)
	}
	if s := first.subject(); s != "" {
		sentence += " (" + s + ")"
	}
	sentence += ": " + firstSentence(first.Found)
	if first.Next != "" {
		sentence += "; first: " + firstSentence(first.Next)
	}
	if strings.HasSuffix(sentence, "?") {
		return sentence
	}
	return sentence + "."
}

// firstSentence returns the first sentence of text, without its full stop.
func firstSentence(text string) string {
	for i := range len(text) {
		if end := text[i]; (end == '.' || end == '?') && (i+1 == len(text) || text[i+1] == ' ') {
			return strings.TrimSuffix(text[:i+1], ".")
		}
	}
	return text
}
