// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// readNamespaces reads the labels of namespaces.
func (in *inspection) readNamespaces(ctx context.Context) {
	const why = "the namespaces' labels (Pod Security, the webhook's selector)"
	found := map[string]*corev1.Namespace{}
	if len(in.Namespaces) == 0 {
		if reading.Pages(ctx, &in.denials, reading.To("list", "namespaces", "", why), metav1.ListOptions{}, in.clients.Core.Namespaces().List, func(page *corev1.NamespaceList) {
			for i := range page.Items {
				found[page.Items[i].Name] = &page.Items[i]
			}
		}) {
			in.namespaces = found
		}
		return
	}
	for _, name := range in.Namespaces {
		ns, err := in.clients.Core.Namespaces().Get(ctx, name, metav1.GetOptions{})
		switch {
		case isMissing(err):
			in.add(Finding{
				Check: "namespace", Group: GroupNamespaces, Status: Failure, Objects: []string{"Namespace " + name},
				Message: "There is no such namespace.", Next: "name another one with --namespace", Commands: []string{"kubectl get namespaces"},
			})
		case in.denials.Note(reading.To("get", "namespaces", "", why), err):
			found[name] = ns
		}
	}
	in.namespaces = found
}

// maxPods is how many pods are read at most. Those behind are not looked at, and the
// report says so.
const maxPods = 50_000

// readPods reads all pods, page by page, and keeps those with the label. Of the others
// it keeps only their addresses.
func (in *inspection) readPods(ctx context.Context) {
	for _, namespace := range in.scopes() {
		n := 0
		reading.Pages(ctx, &in.denials, reading.To("list", "pods", namespace, "the pods with the label"), metav1.ListOptions{}, in.clients.Core.Pods(namespace).List, func(page *corev1.PodList) {
			for i := range page.Items {
				p := &page.Items[i]
				in.addresses.addPod(p)
				if webhook.Wanted(p) && p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
					in.pods = append(in.pods, p)
				}
			}
			if n += len(page.Items); n >= maxPods {
				page.Continue = ""
			}
		})
		if n >= maxPods {
			in.add(Finding{
				Check: "pods", Group: GroupPods, Status: Skipped, Message: fmt.Sprintf("There are more than %d pods, and only those were looked at.", maxPods),
				Next: "look at some namespaces at a time, with --namespace",
			})
		}
	}
}

// owner is the workload that makes a pod, and makes it anew if it is deleted.
type owner struct{ kind, name string }

// ownerOf returns the owner of a pod. A ReplicaSet of a Deployment stands for the
// Deployment, whose name it has, with the hash of the template.
func ownerOf(p *corev1.Pod) owner {
	c := metav1.GetControllerOf(p)
	if c == nil {
		return owner{}
	}
	if hash := p.Labels["pod-template-hash"]; c.Kind == "ReplicaSet" && hash != "" {
		if name, ok := strings.CutSuffix(c.Name, "-"+hash); ok {
			return owner{"Deployment", name}
		}
	}
	return owner{c.Kind, c.Name}
}

// anew returns what makes the pod anew, and the command.
func (s *subject) anew() (next, command string) {
	kubectl := "kubectl --namespace " + s.namespace
	name := s.pod.Name
	switch s.owner.kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return "make its pods anew", fmt.Sprintf("%s rollout restart %s/%s", kubectl, strings.ToLower(s.owner.kind), s.owner.name)
	case "":
		return "create it anew: no workload does", fmt.Sprintf("%s get pod %s -o yaml | kubectl replace --force -f -", kubectl, name)
	default:
		return fmt.Sprintf("delete it: %s %s makes it anew", s.owner.kind, s.owner.name), fmt.Sprintf("%s delete pod %s", kubectl, name)
	}
}

// judge asks package webhook about each pod and each template.
func (in *inspection) judge(ctx context.Context) {
	for _, p := range in.pods {
		s := &subject{name: "Pod " + p.Namespace + "/" + p.Name, namespace: p.Namespace, pod: p, real: true, owner: ownerOf(p)}
		_, s.static = p.Annotations[corev1.MirrorPodAnnotationKey]
		s.version, s.hash, s.statusErr = webhook.Injected(p)
		if in.hook == nil || in.asksIn(p.Namespace) {
			s.now = in.decide(ctx, p.Namespace, p)
		}
		in.subjects = append(in.subjects, s)
	}
	for _, w := range in.workloads {
		p := w.Pod.DeepCopy()
		p.Namespace = w.Namespace
		s := &subject{name: w.Name(), namespace: w.Namespace, pod: p, owner: owner{w.Kind, w.Object}}
		s.version, s.hash, s.statusErr = webhook.Injected(p)
		if in.hook == nil || in.asksIn(w.Namespace) {
			s.now = in.decide(ctx, w.Namespace, p)
		}
		w.subject = s
		in.subjects = append(in.subjects, s)
	}
}

// checkNotInjected finds pods with the label and without the redirect.
func (in *inspection) checkNotInjected(context.Context) {
	var found report.Merged
	well := 0
	for _, s := range in.subjects {
		switch {
		case !s.real:
		case s.statusErr != nil:
			next, command := s.anew()
			found.Add(Finding{Check: "pod-not-injected", Group: GroupPods, Status: Failure, Message: report.Sentence(s.statusErr.Error()), Next: next, Commands: some(command)}, s.name)
		case s.injected():
			well++
		default:
			found.Add(in.notInjected(s), s.name)
		}
	}
	in.add(found.All...)
	if well > 0 {
		in.add(Finding{Check: "pod-not-injected", Group: GroupPods, Status: OK, Message: fmt.Sprintf("%d %s with the label %s injected.", well, report.Plural(well, "pod"), isAre(well))})
	}
	if len(in.pods) == 0 && len(in.workloads) == 0 && !in.denials.Any() {
		in.add(Finding{
			Check: "pod-not-injected", Group: GroupPods, Status: OK,
			Message: "No pod and no workload has the label " + webhook.Label + ", so the webhook has nothing to do." + in.where(),
		})
	}
}

// where says which namespaces were looked at, if not all were.
func (in *inspection) where() string {
	if len(in.Namespaces) == 0 {
		return ""
	}
	return " Only these namespaces were looked at: " + strings.Join(in.Namespaces, ", ") + "."
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// notInjected says why a pod may not be injected. The first cause that is known is the
// one.
func (in *inspection) notInjected(s *subject) Finding {
	f := Finding{Check: "pod-not-injected", Group: GroupPods, Status: Failure}
	next, command := s.anew()
	f.Next, f.Commands = next, some(command)
	const has = "It has the label and was not injected: "
	value := s.pod.Labels[webhook.Label]
	added, later := labelAdded(s.pod)
	switch {
	case value != "true":
		f.Message = fmt.Sprintf("Its label %s has the value %q, which is not known.", webhook.Label, value)
		f.Next = `write "true" or "false", in quotes, and make the pod anew`
	case s.static:
		f.Message = has + "it is a static pod, which the kubelet starts from a file on the node without asking a webhook."
		f.Next, f.Commands = "inject the file with `webhook inject`; without the API server, the Secrets have to be files of the node too. Or remove the label", nil
	case s.now != nil && s.now.Reason == webhook.ReasonConfigDisabled:
		f.Status, f.Message = OK, report.Sentence("It is left alone on purpose: "+s.now.Message)
		f.Next, f.Commands = "", nil
	case in.hook == nil && in.report.Has(Failure, "registration"):
		f.Message = has + "the API server has no registration of the webhook."
		f.Next = "first repair the registration (above), then " + next
	case in.hook != nil && !in.asksIn(s.namespace):
		f.Message = fmt.Sprintf("%sthe registration leaves out namespace %s.", has, s.namespace)
		f.Next = fmt.Sprintf("take the namespace off the chart's value webhook.excludedNamespaces, if it is there; then %s. Or remove the label", next)
		f.Commands = append([]string{fmt.Sprintf("kubectl get mutatingwebhookconfiguration %s -o jsonpath='{.webhooks[0].namespaceSelector}'", in.hook.name)}, f.Commands...)
	case in.hook != nil && in.report.Has(Failure, "object-selector", "rules"):
		f.Message = has + "the registration leaves it out (above)."
		f.Next = "first repair the registration, then " + next
	case s.now != nil && s.now.Decision == webhook.Refuse:
		f.Message = report.Sentence(fmt.Sprintf("%sthe webhook did not see it, and would refuse it: %s", has, s.now.Message))
		f.Next = "correct that, then " + next
	case later:
		f.Message = fmt.Sprintf("%sthe label came at %s, after the pod was made. Only new pods are injected.", has, minute(added))
		f.Next = in.putIntoTemplate(s, next)
	case in.hook != nil && s.pod.CreationTimestamp.Before(&in.hook.made):
		f.Message = fmt.Sprintf("%sit was made at %s, before the webhook was registered (%s).", has, minute(s.pod.CreationTimestamp.Time), minute(in.hook.made.Time))
	case in.hook != nil && in.report.Has(Warning, "failure-policy"):
		f.Message = has + "probably the webhook was away when the pod was made, and failurePolicy is Ignore (above)."
	default:
		f.Message = has + "probably the webhook or its registration was away when the pod was made."
	}
	return f
}

// putIntoTemplate says what to do if the template of a pod's owner lacks the label.
func (in *inspection) putIntoTemplate(s *subject, next string) string {
	for _, w := range in.workloads {
		if w.Namespace == s.namespace && w.Kind == s.owner.kind && w.Object == s.owner.name {
			return next
		}
	}
	if s.owner.kind == "" {
		return next
	}
	return fmt.Sprintf("put the label into the pod template of %s %s, which makes new pods", s.owner.kind, s.owner.name)
}

// seedAddresses are addresses of the cluster's pods, nodes and Services.
type seedAddresses struct {
	pods []podAddress
}

type podAddress struct {
	object  string
	address netip.Addr
}

// addPod keeps the addresses of a pod that has some of its own.
func (a *seedAddresses) addPod(p *corev1.Pod) {
	if p.Spec.HostNetwork {
		return
	}
	for _, ip := range p.Status.PodIPs {
		if address, err := netip.ParseAddr(ip.IP); err == nil {
			a.pods = append(a.pods, podAddress{"Pod " + p.Namespace + "/" + p.Name, address})
		}
	}
}
