// SPDX-License-Identifier: Apache-2.0

// Package report is what an inspection of an installation says: findings, a verdict and an
// exit code, as text and as JSON.
//
// It does not know how anything was found.
package report

import (
	"fmt"
	"slices"
	"time"
)

// Status is the result of one check.
type Status string

// The statuses.
const (
	// OK: what was looked at is as it should be.
	OK Status = "ok"
	// Warning: it works, and something deserves attention.
	Warning Status = "warning"
	// Failure: something does not work, or will not.
	Failure Status = "failure"
	// Skipped: it could not be looked at, for example because a right is missing.
	Skipped Status = "skipped"
)

// Group is a part of the installation.
type Group string

// The groups, in the order in which a report has them. A problem in one of them may
// cause problems in those behind it.
const (
	GroupWebhook    Group = "webhook"
	GroupNamespaces Group = "namespaces"
	GroupWorkloads  Group = "workloads"
	GroupPods       Group = "pods"
	GroupSecrets    Group = "secrets"
	GroupServers    Group = "proxy-servers"
	GroupNetworks   Group = "networks"
	GroupNodes      Group = "nodes"
	GroupRights     Group = "rights"
)

// groups returns all groups in their order.
func groups() []Group {
	return []Group{GroupWebhook, GroupNamespaces, GroupWorkloads, GroupPods, GroupSecrets, GroupServers, GroupNetworks, GroupNodes, GroupRights}
}

// Finding is one result. It never has the content of a Secret.
type Finding struct {
	// Check is the name of the check, such as pod-not-injected. One check may have
	// several findings.
	Check  string `json:"check"`
	Group  Group  `json:"group"`
	Status Status `json:"status"`
	// Objects are the objects that it is about, such as "Pod monitoring/app-0".
	Objects []string `json:"objects,omitempty"`
	// Message says what was looked at, and what is wrong.
	Message string `json:"message"`
	// Next says what to do. It is empty if nothing is to be done.
	Next string `json:"next,omitempty"`
	// Commands are the commands with which to do it.
	Commands []string `json:"commands,omitempty"`
}

// Shoot is one set of ranges that pods redirect.
type Shoot struct {
	PodCIDRs     []string `json:"podCIDRs,omitempty"`
	ServiceCIDRs []string `json:"serviceCIDRs,omitempty"`
	NodeCIDRs    []string `json:"nodeCIDRs,omitempty"`
	ExcludeCIDRs []string `json:"excludeCIDRs,omitempty"`
	// Objects are the pods and workloads with these ranges.
	Objects []string `json:"objects"`
}

// Report is the result of an inspection.
type Report struct {
	// Time is when the inspection began.
	Time time.Time `json:"time"`
	// Cluster is the address of the API server.
	Cluster string `json:"cluster"`
	// Version is that of the program that inspected.
	Version string `json:"version"`
	// Namespaces are those that were asked for. Without one, all were.
	Namespaces []string  `json:"namespaces,omitempty"`
	Findings   []Finding `json:"findings"`
	// Verdict is one sentence, with what to do first.
	Verdict string `json:"verdict"`
	// Shoots are the sets of ranges that the pods redirect.
	Shoots []Shoot `json:"shoots,omitempty"`
}

// The exit codes of a program that prints a report.
const (
	exitWell     = 0
	exitFailure  = 1
	exitWarnings = 3
)

// ExitCode returns 0 if all is well, 1 if there is a failure, and 3 if there are only
// warnings, or something could not be looked at.
func (r *Report) ExitCode() int {
	switch {
	case r.count(Failure) > 0:
		return exitFailure
	case r.count(Warning)+r.count(Skipped) > 0:
		return exitWarnings
	default:
		return exitWell
	}
}

// Add adds findings, sorts all of them, and writes the verdict anew.
func (r *Report) Add(findings ...Finding) {
	r.Findings = append(r.Findings, findings...)
	order := groups()
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return slices.Index(order, a.Group) - slices.Index(order, b.Group)
	})
	r.Verdict = r.verdict()
}

func (r *Report) count(s Status) int {
	n := 0
	for _, f := range r.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}

// verdict returns the sentence about the whole installation.
func (r *Report) verdict() string {
	failures, warnings, skipped := r.count(Failure), r.count(Warning), r.count(Skipped)
	switch {
	case failures > 0:
		return fmt.Sprintf("%s: %s. First: %s", "not well", counted(failures, "failure")+also(warnings, "warning")+also(skipped, "check skipped"), r.first(Failure))
	case warnings > 0:
		return fmt.Sprintf("no failure, %s. First: %s", counted(warnings, "warning")+also(skipped, "check skipped"), r.first(Warning))
	case skipped > 0:
		return fmt.Sprintf("nothing wrong was found, but %s. First: %s", counted(skipped, "check was skipped"), r.first(Skipped))
	default:
		return "all well"
	}
}

// first returns what to do about the first finding with a status.
func (r *Report) first(s Status) string {
	i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Status == s })
	f := r.Findings[i]
	about := ""
	if len(f.Objects) > 0 {
		about = f.Objects[0] + ": "
	}
	switch {
	case f.Next != "":
		return about + f.Next
	case len(f.Commands) > 0:
		return about + f.Commands[0]
	default:
		return about + f.Message
	}
}

// counted returns a number with its noun. The noun's first word gets an s.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	switch noun {
	case "check skipped":
		noun = "checks skipped"
	case "check was skipped":
		noun = "checks were skipped"
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func also(n int, noun string) string {
	if n == 0 {
		return ""
	}
	return ", " + counted(n, noun)
}
