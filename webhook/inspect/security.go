// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook/report"
	"github.com/shoot-proxy/proxy-client/webhook/source"
)

// byNamespace returns the subjects that have a redirect or should, by namespace, and the
// namespaces in order.
func (in *inspection) byNamespace() (namespaces []string, subjects map[string][]*subject) {
	subjects = map[string][]*subject{}
	for _, s := range in.subjects {
		if s.spec() != nil {
			subjects[s.namespace] = append(subjects[s.namespace], s)
			namespaces = append(namespaces, s.namespace)
		}
	}
	return unique(namespaces), subjects
}

func namesOfSubjects(subjects []*subject) []string {
	var all []string
	for _, s := range subjects {
		all = append(all, s.name)
	}
	return all
}

// forbidsNetAdmin reports whether a namespace enforces a level that forbids init-redirect.
func forbidsNetAdmin(ns *corev1.Namespace) bool {
	level := ns.Labels[source.PodSecurity]
	return level == "baseline" || level == "restricted"
}

// checkPodSecurity finds namespaces whose level forbids init-redirect's NET_ADMIN.
func (in *inspection) checkPodSecurity(context.Context) {
	namespaces, subjects := in.byNamespace()
	well := 0
	for _, name := range namespaces {
		ns := in.namespaceOf(name)
		if ns == nil {
			continue
		}
		level := ns.Labels[source.PodSecurity]
		if !forbidsNetAdmin(ns) {
			well++
			continue
		}
		in.add(Finding{
			Check: "pod-security", Group: GroupNamespaces, Status: Failure, Objects: []string{"Namespace " + name},
			Message:  fmt.Sprintf("It enforces Pod Security %q, which forbids init-redirect's NET_ADMIN: new pods with the label are refused. In it: %s.", level, report.NeededBy(namesOfSubjects(subjects[name]))),
			Next:     "let the namespace enforce privileged",
			Commands: []string{fmt.Sprintf("kubectl label --overwrite namespace %s %s=privileged", name, source.PodSecurity)},
		})
	}
	if well > 0 {
		in.add(Finding{
			Check: "pod-security", Group: GroupNamespaces, Status: OK,
			Message: fmt.Sprintf("Pod Security lets init-redirect have NET_ADMIN in %d %s with the label.", well, report.Plural(well, "namespace")),
		})
	}
}
