// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"
	"strings"
)

// Merged are findings of many objects. Those that say the same are one.
type Merged struct{ All []Finding }

// Add adds a finding about an object.
func (f *Merged) Add(finding Finding, object string) {
	for i := range f.All {
		g := &f.All[i]
		if g.Check == finding.Check && g.Status == finding.Status && g.Message == finding.Message && g.Next == finding.Next {
			g.Objects = append(g.Objects, object)
			for _, c := range finding.Commands {
				if len(g.Commands) < MaxCommands && !slices.Contains(g.Commands, c) {
					g.Commands = append(g.Commands, c)
				}
			}
			return
		}
	}
	finding.Objects = append(finding.Objects, object)
	f.All = append(f.All, finding)
}

// MaxCommands is how many commands a finding of many objects has.
const MaxCommands = 5

// Has reports whether one of the checks has a finding with a status.
func (r *Report) Has(s Status, checks ...string) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Status == s && slices.Contains(checks, f.Check) })
}

// HasIn reports whether a check has a failure about an object of a namespace, or the
// namespace itself.
func (r *Report) HasIn(namespace, check string) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Status == Failure && f.Check == check && slices.ContainsFunc(f.Objects, func(object string) bool {
			return object == "Namespace "+namespace || strings.Contains(object, " "+namespace+"/")
		})
	})
}
