// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/internal/poddiff"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
	"github.com/shoot-proxy/proxy-client/webhook/source"
)

// readNodes reads the nodes.
func (in *inspection) readNodes(ctx context.Context) {
	in.nodesRead = reading.Pages(ctx, &in.denials, reading.To("list", "nodes", "", "the nodes' versions and addresses"), metav1.ListOptions{}, in.clients.Core.Nodes().List, func(page *corev1.NodeList) {
		in.nodes = append(in.nodes, page.Items...)
	})
}

// oldestNode returns what the webhook knew when a pod was made: the minor version of the
// oldest kubelet among the nodes that the pod's selector accepts, or 0.
func (in *inspection) oldestNode(spec *corev1.PodSpec) int {
	oldest := 0
	for _, n := range in.nodes {
		if !source.Accepts(n.Labels, spec.NodeSelector) {
			continue
		}
		minor := source.KubeletMinor(n.Status.NodeInfo.KubeletVersion)
		if minor == 0 {
			return 0
		}
		if oldest == 0 || minor < oldest {
			oldest = minor
		}
	}
	return oldest
}

// nativeSince is the minor version of Kubernetes since which native sidecars are on by
// default. nativeForSure is the one since which they cannot be turned off.
const (
	nativeSince   = 29
	nativeForSure = 33
)

// checkNodes finds nodes on which pods get the classic order, or none at all.
func (in *inspection) checkNodes(context.Context) {
	if !in.nodesRead || len(in.nodes) == 0 {
		return
	}
	old, unsure, foreign := in.sortNodes()
	classic := in.classic()
	if len(old) > 0 {
		f := Finding{
			Check: "old-node", Group: GroupNodes, Status: Warning, Objects: old,
			Message: fmt.Sprintf("The kubelet is older than 1.%d and has no native sidecars. Pods that may run there get the classic order.", nativeSince),
			Next:    "upgrade the nodes, or keep pods with the label off them with a nodeSelector",
		}
		if refused := in.refusedFor(webhook.ReasonOldNodes, webhook.ReasonNeverCompletes); len(refused) > 0 {
			f.Status = Failure
			f.Message = fmt.Sprintf("The kubelet is older than 1.%d and has no native sidecars. Because of it the webhook refuses new pods of %s.", nativeSince, report.NeededBy(refused))
		}
		in.add(f)
	}
	if len(unsure) > 0 && len(old) == 0 && len(classic) > 0 {
		in.add(Finding{
			Check: "old-node", Group: GroupNodes, Status: Warning, Objects: unsure,
			Message: fmt.Sprintf("The kubelet is older than 1.%d, so with nativeSidecar: auto these get the classic order: %s.", nativeForSure, report.NeededBy(classic)),
			Next:    `set nativeSidecar: "true", because every node has 1.29 or later`,
		})
	}
	if may := in.anywhere(); len(foreign) > 0 && len(may) > 0 {
		in.add(Finding{
			Check: "foreign-node", Group: GroupNodes, Status: Warning, Objects: foreign,
			Message: fmt.Sprintf("It does not run Linux, and these pods may be sent there: %s.", report.NeededBy(may)),
			Next:    "give them the nodeSelector kubernetes.io/os: linux",
		})
	}
	if !in.report.Has(Warning, "old-node", "foreign-node") && !in.report.Has(Failure, "old-node") {
		in.add(Finding{Check: "nodes", Group: GroupNodes, Status: OK, Message: fmt.Sprintf("%d %s: native sidecars run where pods with the label may run.", len(in.nodes), report.Plural(len(in.nodes), "node"))})
	}
}

// sortNodes returns the nodes without native sidecars, those that may have them turned
// off, and those without Linux.
func (in *inspection) sortNodes() (old, unsure, foreign []string) {
	for _, n := range in.nodes {
		version := n.Status.NodeInfo.KubeletVersion
		named := fmt.Sprintf("Node %s", n.Name)
		switch minor := source.KubeletMinor(version); {
		case !source.Accepts(n.Labels, nil):
			foreign = append(foreign, named)
		case minor != 0 && minor < nativeSince:
			old = append(old, named+" ("+version+")")
		case minor < nativeForSure:
			unsure = append(unsure, named+" ("+version+")")
		}
	}
	return old, unsure, foreign
}

// ancientNodes reports whether a node's version may cause the classic order.
func (in *inspection) ancientNodes() bool {
	old, unsure, _ := in.sortNodes()
	return len(old)+len(unsure) > 0
}

// refusedFor returns the subjects that the webhook would refuse for one of the reasons.
func (in *inspection) refusedFor(reasons ...webhook.Reason) []string {
	var all []string
	for _, s := range in.subjects {
		if s.now != nil && s.now.Decision == webhook.Refuse && slices.Contains(reasons, s.now.Reason) {
			all = append(all, s.name)
		}
	}
	return all
}

// classic returns the subjects that have the classic order, or would get it.
func (in *inspection) classic() []string {
	var all []string
	for _, s := range in.subjects {
		if p := s.anewSpec(); p != nil {
			if _, native := poddiff.Container(p, proxyClient); !native {
				all = append(all, s.name)
			}
		}
	}
	return all
}

// anywhere returns the subjects that may run on a node of any operating system.
func (in *inspection) anywhere() []string {
	var all []string
	for _, s := range in.subjects {
		p := s.spec()
		if p == nil || s.real && p.Spec.NodeName != "" || strings.HasPrefix(s.name, "DaemonSet ") {
			continue // it has its node, or its controller chooses it
		}
		if p.Spec.NodeSelector[corev1.LabelOSStable] == "" && p.Spec.Affinity == nil && (p.Spec.OS == nil || p.Spec.OS.Name == "") {
			all = append(all, s.name)
		}
	}
	return all
}
