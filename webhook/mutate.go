// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Namespace is what is known about the pod's namespace.
type Namespace struct {
	Name string
	// PodSecurity is the level that the namespace enforces: its label
	// pod-security.kubernetes.io/enforce.
	PodSecurity string
}

// Request is a pod, with everything that decides about it.
type Request struct {
	// Pod is never changed.
	Pod *corev1.Pod
	// Admission is set if kube-apiserver asks. Then the pod's managedFields come from
	// the request that creates the pod. In a file they come from another pod.
	Admission bool
	Namespace Namespace
	// Images are the images given by flags; an empty one is not set. They override the
	// operator's configuration.
	Images Images
	// Version is this program's version, for the status annotation and the images. The
	// operator's configuration may override it.
	Version string
	// Defaults are the operator's. If they are nil, the pod's annotations must set
	// everything, and may.
	Defaults *Config
	// ConfigMap is the namespace's ConfigMap that [ConfigMapFor] names; nil if there is
	// none.
	ConfigMap *Config
	// Networking is Gardener's; nil if there is none.
	Networking *Networking
	// OldestNode is the minor version of the oldest kubelet on which the pod may run. 0
	// means that a node may have any version. [NoOldNodes] means that no cluster was
	// read.
	OldestNode int
	// NativeSidecar overrides every other source: auto, true, false, or empty.
	NativeSidecar string
}

// Minor versions of Kubernetes.
const (
	nativeSince   = 29 // SidecarContainers is on by default
	nativeForSure = 33 // and cannot be turned off
)

// NoOldNodes is a [Request]'s OldestNode if no cluster was read. All supported releases
// of Kubernetes have native sidecars.
const NoOldNodes = math.MaxInt

// Mutate decides about a pod, and injects it.
func Mutate(r Request) Result {
	switch value, ok := r.Pod.Labels[Label]; {
	case !ok:
		return skip(ReasonNoLabel, fmt.Sprintf("the pod has no label %s", Label))
	case value == "false":
		return skip(ReasonDisabled, fmt.Sprintf("the pod's label %s is false", Label))
	case value != "true":
		return *refuse(ReasonBadLabel, "label %s %q is not known: write \"true\" or \"false\", in quotes", Label, value)
	}
	if r.Disabled() {
		return r.leftAlone()
	}
	old, err := statusOf(r.Pod)
	if err != nil {
		return *refuse(ReasonBadAnnotation, "%s", err)
	}
	base := r.Pod
	if old != nil {
		base = old.removedFrom(r.Pod)
	}
	if refusal := checkPod(base); refusal != nil {
		return *refusal
	}
	justNow := old != nil && r.Admission && injectedJustNow(r.Pod)
	if justNow {
		keepAppArmor(base, r.Pod)
	}
	s, refusal := r.settings()
	if refusal != nil {
		return *refusal
	}
	in, refusal := r.injection(base, s)
	if refusal != nil {
		refusal.Values = s.values
		return *refusal
	}
	result := r.inject(base, in, old, justNow)
	result.Warnings, result.Values = r.warnings(in), s.values
	return result
}

// inject adds to the pod what it gets. base is the pod without what is ours. old is its
// earlier status, from this same admission if justNow is set.
func (r *Request) inject(base *corev1.Pod, in *injection, old *status, justNow bool) Result {
	p := in.parts()
	st := status{Version: in.Version, Hash: in.hash(p)}
	result := Result{Decision: Inject, Reason: ReasonInjected, Hash: st.Hash, Message: "added init-redirect, and proxy-client " + in.orderInWords()}
	annotations := map[string]string{}
	managed := r.Admission && len(r.Pod.ManagedFields) > 0
	switch {
	case old == nil:
	case justNow && old.Version == st.Version:
		// The hash differs if the other webhook has changed something that our parts
		// depend on.
		p = p.keepChanges(r.Pod)
		for _, name := range old.Annotations {
			if value, ok := r.Pod.Annotations[name]; ok {
				annotations[name] = value
			}
		}
		result.Reason, result.Message = ReasonRestored, "put back what another webhook has changed of the redirect, with proxy-client "+in.orderInWords()
	default:
		if managed && !justNow {
			annotations[annotationRenewed] = st.Hash
		}
		result.Reason, result.Message = ReasonUpgraded, fmt.Sprintf("brought up to date from version %s, with proxy-client %s", old.Version, in.orderInWords())
		if old.Hash == st.Hash {
			result.Message = fmt.Sprintf("injected anew, with proxy-client %s: what was there is not quite what version %s injects", in.orderInWords(), old.Version)
		}
	}
	// A pod that was already injected in the request must get annotation renewed.
	if old != nil && old.Hash == st.Hash && (justNow || !managed) && p.presentIn(r.Pod, in.native) {
		result.Decision, result.Reason = Skip, ReasonAlreadyInjected
		result.Message = "the pod has been injected already, with the same configuration"
		return result
	}
	result.Pod = in.addTo(base, p, st, annotations)
	return result
}

// injection returns what the pod gets, or why it gets nothing.
func (r *Request) injection(pod *corev1.Pod, s *settings) (*injection, *Result) {
	if refusal := r.complete(s); refusal != nil {
		return nil, refusal
	}
	if name, value, problem := s.check(); problem != "" {
		return nil, s.refuse(name, value, problem)
	}
	p, err := s.containerOptions()
	if err != nil {
		name, value, problem := inFieldWords(err)
		return nil, s.refuse(name, value, problem)
	}
	if refusal := p.checkCollisions(pod); refusal != nil {
		return nil, refusal
	}
	limit, problem := s.memory(p.totalBuffer)
	if problem != "" {
		return nil, refuse(ReasonBadConfig, "%s", problem)
	}
	native, refusal := r.native(pod, s)
	if refusal != nil {
		return nil, refusal
	}
	s.values = append(s.values, r.order(native, s))
	in := &injection{settings: s, containerOptions: p, memory: limit, native: native, guaranteed: isGuaranteed(pod) && s.staysGuaranteed(), pod: pod}
	if refusal := in.checkNameservers(); refusal != nil {
		return nil, refusal
	}
	if refusal := in.fitPodResources(); refusal != nil {
		return nil, refusal
	}
	return in, nil
}

// native decides between the two orders of containers.
func (r *Request) native(pod *corev1.Pod, s *settings) (bool, *Result) {
	old := r.OldestNode != 0 && r.OldestNode < nativeSince
	switch {
	case s.NativeSidecar == nativeYes && old:
		return false, refuse(ReasonOldNodes, "native sidecars are asked for (%s), and a node runs Kubernetes 1.%d: they need 1.%d", s.sources["nativeSidecar"].source, r.OldestNode, nativeSince)
	case s.NativeSidecar == nativeYes, s.NativeSidecar == nativeAuto && r.OldestNode >= nativeForSure:
		return true, nil
	case pod.Spec.RestartPolicy == corev1.RestartPolicyNever, pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure:
		return false, refuse(ReasonNeverCompletes, "the pod is to complete (restartPolicy %s), and never would with proxy-client beside it: set %s to \"true\", on nodes with Kubernetes 1.%d or later",
			pod.Spec.RestartPolicy, annotationSource(annotationNativeSidecar), nativeSince)
	default:
		return false, nil
	}
}

// order returns which order was chosen, and why.
func (r *Request) order(native bool, s *settings) Value {
	v := Value{Name: "order", Value: "classic", Source: s.sources["nativeSidecar"].source}
	if native {
		v.Value = "native sidecar"
	}
	if s.NativeSidecar != nativeAuto {
		return v
	}
	switch {
	case r.OldestNode == NoOldNodes:
		v.Source = "nativeSidecar auto, and no cluster is looked at"
	case r.OldestNode == 0:
		v.Source = "nativeSidecar auto, and not all nodes are known"
	default:
		v.Source = fmt.Sprintf("nativeSidecar auto, and the oldest node runs Kubernetes 1.%d", r.OldestNode)
	}
	return v
}

// refuse returns the refusal of a value, beginning with its source. Detail holds what
// only the operator may see.
func (s *settings) refuse(name, value, problem string) *Result {
	from := s.sources[name]
	at, reason := from.source, ReasonBadConfig
	switch {
	case name == "":
		at = "the configuration"
	case strings.HasPrefix(from.source, annotationSource("")):
		reason = ReasonBadAnnotation
		// Without quotes YAML makes a boolean of it, and an annotation must be text.
		problem = strings.Replace(problem, "write auto, true or false", `write "auto", "true" or "false", in quotes`, 1)
	default:
		at = fmt.Sprintf("%s: %s", from.source, name)
	}
	if name == "" {
		at += ":" // the problem is a sentence of its own
	}
	full := strings.Join(strings.Fields(at+" "+quoted(value)+" "+problem), " ")
	if from.secret {
		r := refuse(reason, "%s cannot be used: whoever may read it sees why with `webhook explain --config`", at)
		r.Detail = full
		return r
	}
	shown := s.redact(full)
	r := refuse(reason, "%s", shown)
	if shown != full {
		r.Detail = full
	}
	return r
}

// redact removes a ConfigMap's values from a sentence.
func (s *settings) redact(text string) string {
	for _, v := range s.values {
		if !s.sources[v.Name].secret {
			continue
		}
		for value := range strings.SplitSeq(v.Value, ",") {
			if len(value) > 2 {
				text = strings.ReplaceAll(text, value, "(not shown)")
			}
		}
	}
	return text
}
