// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook/internal/poddiff"
	"github.com/shoot-proxy/proxy-client/webhook/internal/podquota"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// checkQuotas finds quotas and limit ranges that refuse injected pods.
func (in *inspection) checkQuotas(ctx context.Context) {
	namespaces, subjects := in.byNamespace()
	looked, blamed := 0, false
	for _, name := range namespaces {
		var quotas []corev1.ResourceQuota
		var ranges []corev1.LimitRange
		a := reading.Pages(ctx, &in.denials, reading.To("list", "resourcequotas", name, "the quotas for pods"), metav1.ListOptions{}, in.clients.Core.ResourceQuotas(name).List, func(page *corev1.ResourceQuotaList) {
			quotas = append(quotas, page.Items...)
		})
		b := reading.Pages(ctx, &in.denials, reading.To("list", "limitranges", name, "the limits for containers"), metav1.ListOptions{}, in.clients.Core.LimitRanges(name).List, func(page *corev1.LimitRangeList) {
			ranges = append(ranges, page.Items...)
		})
		if a && b {
			looked++
		}
		var found report.Merged
		for _, s := range subjects[name] {
			p := s.anewSpec()
			for _, q := range quotas {
				for _, f := range podquota.OfQuota(q, p, oursOf(p), ranges, s.injected()) {
					found.Add(quotaFinding("quota", f), fmt.Sprintf("ResourceQuota %s/%s", q.Namespace, q.Name))
				}
			}
			for _, r := range ranges {
				for _, f := range podquota.OfLimitRange(r, oursOf(p)) {
					found.Add(quotaFinding("limit-range", f), fmt.Sprintf("LimitRange %s/%s", r.Namespace, r.Name))
				}
			}
		}
		for i := range found.All {
			found.All[i].Objects = unique(found.All[i].Objects)
		}
		blamed = blamed || len(found.All) > 0
		in.add(found.All...)
	}
	if looked > 0 && !blamed {
		in.add(Finding{
			Check: "quota", Group: GroupNamespaces, Status: OK,
			Message: fmt.Sprintf("No ResourceQuota and no LimitRange refuses injected pods in %d %s.", looked, report.Plural(looked, "namespace")),
		})
	}
}

// anewSpec returns the pod as it would be made today.
func (s *subject) anewSpec() *corev1.Pod {
	if s.now != nil && s.now.Pod != nil {
		return s.now.Pod
	}
	return s.spec()
}

// oursOf returns our containers in a pod.
func oursOf(p *corev1.Pod) []*corev1.Container {
	var all []*corev1.Container
	for _, name := range []string{initRedirect, proxyClient} {
		if c, _ := poddiff.Container(p, name); c != nil {
			all = append(all, c)
		}
	}
	return all
}

func quotaFinding(check string, p podquota.Problem) Finding {
	f := Finding{Check: check, Group: GroupNamespaces, Status: Failure, Message: p.Message, Next: p.Next, Commands: some(p.Command)}
	if p.Maybe {
		f.Status = Warning
	}
	return f
}
