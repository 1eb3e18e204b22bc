// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/internal/workloads"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// workload is an object that makes pods, with what the webhook does with these.
type workload struct {
	*workloads.Workload
	subject *subject
}

// readWorkloads reads everything that makes pods, and keeps what has the label.
func (in *inspection) readWorkloads(ctx context.Context) {
	workloads.Read(ctx, in.clients, &in.denials, in.scopes(), in.keep)
}

// keep keeps a workload with the label, and reports a label in a place without effect.
func (in *inspection) keep(w *workloads.Workload) {
	if webhook.Wanted(w.Pod) {
		in.workloads = append(in.workloads, &workload{Workload: w})
		return
	}
	if _, there := w.Pod.Labels[webhook.Label]; there || w.Controlled || w.Labels[webhook.Label] != "true" {
		return
	}
	place, patch := "its pod template", `{"spec":{"template":{"metadata":{"labels":{"shoot-proxy.io/inject":"true"}}}}}`
	switch {
	case w.PodMetadata:
		place, patch = "spec.podMetadata", `{"spec":{"podMetadata":{"labels":{"shoot-proxy.io/inject":"true"}}}}`
	case w.Kind == "CronJob":
		patch = `{"spec":{"jobTemplate":` + patch + `}}`
	}
	f := Finding{
		Check: "label-place", Group: GroupWorkloads, Status: Warning, Objects: []string{w.Name()},
		Message: fmt.Sprintf("It has the label itself, and not in %s: its pods do not get the label, and are not injected.", place),
		Next:    "put the label into " + place,
	}
	if w.Kind != "Job" { // its template cannot be changed
		f.Commands = []string{fmt.Sprintf("kubectl --namespace %s patch %s %s --type=merge --patch='%s'", w.Namespace, kubectlKind(w.Kind), w.Object, patch)}
	}
	in.add(f)
}

func kubectlKind(kind string) string { return strings.ToLower(kind) }

// checkWorkloads finds workloads whose pods cannot be made.
func (in *inspection) checkWorkloads(ctx context.Context) {
	var found report.Merged
	asked := 0
	for _, w := range in.workloads {
		if w.Problem == "" && w.LacksPods() && asked < maxEventLists {
			asked++
			w.Problem = workloads.LastFailure(ctx, in.clients, &in.denials, w.Workload)
		}
		s := w.subject
		f := Finding{Check: "workload", Group: GroupWorkloads, Status: Failure}
		switch {
		case in.hook != nil && !in.asksIn(w.Namespace):
			if in.hasPods(w) {
				continue // they are reported
			}
			f.Check, f.Message = "workload-left-out", fmt.Sprintf("The webhook's registration leaves out namespace %s: pods with the label start without their redirect.", w.Namespace)
			f.Next = "take the namespace off the chart's value webhook.excludedNamespaces, or the label off the template"
		case s.now != nil && s.now.Reason == webhook.ReasonOldNodes:
			continue // the nodes are the cause, and are reported
		case s.now != nil && s.now.Decision == webhook.Refuse:
			f.Check, f.Message = "workload-refused", report.Sentence("The webhook refuses its pods: "+s.now.Message)
			f.Next = "correct that; docs/webhook.md, Why a pod is refused, says more"
		case consequence(w.Problem, in.report, w.Namespace):
			continue // the namespace is the cause, and is reported
		case w.Problem != "" && in.report.Has(Failure, "deployment", "service", "endpoints", "serving-certificate", "ca-bundle", "dry-run"):
			f.Message, f.Status = "Its pods cannot be made, because the API server cannot ask the webhook (above).", Skipped
		case w.Problem != "":
			f.Message, f.Next = report.Sentence("Its pods cannot be made: "+w.Problem), "correct what the message names"
		default:
			continue
		}
		found.Add(f, w.Name())
	}
	in.add(found.All...)
}

// maxEventLists is how many workloads' events are read at most.
const maxEventLists = 20

// hasPods reports whether a workload has made pods.
func (in *inspection) hasPods(w *workload) bool {
	return slices.ContainsFunc(in.subjects, func(s *subject) bool {
		return s.real && s.namespace == w.Namespace && s.owner == owner{w.Kind, w.Object}
	})
}

// consequence reports whether a controller's problem follows from a finding about the
// namespace.
func consequence(problem string, r *Report, namespace string) bool {
	for text, check := range map[string]string{
		"violates PodSecurity": "pod-security", "exceeded quota": "quota", "failed quota": "quota",
		"maximum": "limit-range", "minimum": "limit-range", "ratio": "limit-range",
	} {
		if strings.Contains(problem, text) && r.HasIn(namespace, check) {
			return true
		}
	}
	return false
}
