// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"strings"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/internal/poddiff"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// checkOutdated finds injected pods that would get something else today.
func (in *inspection) checkOutdated(context.Context) {
	var found report.Merged
	same := 0
	for _, s := range in.subjects {
		if !s.real || !s.injected() || s.now == nil || in.sources.distrusted {
			continue
		}
		next, command := s.anew()
		f := Finding{Check: "pod-outdated", Group: GroupPods, Status: Warning, Next: next, Commands: some(command)}
		switch {
		case s.now.Reason == webhook.ReasonOldNodes || s.now.Reason == webhook.ReasonNeverCompletes || in.onlyOrder(s):
			continue // the nodes are the cause, and are reported
		case s.now.Decision == webhook.Refuse:
			f.Check, f.Message = "pod-refused-anew", report.Sentence("It runs, but made anew the webhook would refuse it: "+s.now.Message)
			f.Next, f.Commands = "correct that before the pod is replaced", nil
		case s.now.Reason == webhook.ReasonConfigDisabled:
			f.Message = report.Sentence(s.now.Message)
			f.Next, f.Commands = "", nil
		case s.now.Hash == s.hash:
			same++
			continue
		default:
			f.Message = in.difference(s)
		}
		found.Add(f, s.name)
	}
	in.add(found.All...)
	if same > 0 {
		in.add(Finding{Check: "pod-outdated", Group: GroupPods, Status: OK, Message: fmt.Sprintf("%d injected %s what the webhook gives today.", same, havePods(same))})
	}
}

func havePods(n int) string {
	if n == 1 {
		return "pod has"
	}
	return "pods have"
}

// difference says what an injected pod has, and what it would get.
func (in *inspection) difference(s *subject) string {
	var what []string
	if s.now.Pod != nil {
		what = poddiff.Settings(s.pod, s.now.Pod)
	}
	said := "."
	if len(what) > 0 {
		said = ": " + strings.Join(what[:min(len(what), maxDifferences)], "; ")
		if more := len(what) - maxDifferences; more > 0 {
			said += fmt.Sprintf("; and %d more", more)
		}
		said += "."
	}
	if s.version != in.install.version && in.install.version != "" {
		return fmt.Sprintf("It was injected by version %s, and the webhook has %s%s", s.version, in.install.version, said)
	}
	return "The configuration has changed since it was injected" + said
}

// onlyOrder reports whether an injected pod would only get another order of containers,
// because of a node.
func (in *inspection) onlyOrder(s *subject) bool {
	if s.now.Pod == nil || s.now.Hash == s.hash || s.version != in.install.version {
		return false
	}
	_, native := poddiff.Container(s.pod, proxyClient)
	_, nativeNow := poddiff.Container(s.now.Pod, proxyClient)
	return native != nativeNow && in.ancientNodes()
}

// maxDifferences is how many differing settings a finding names.
const maxDifferences = 6
