// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook/source"
)

// readNodes reads the nodes.
func (in *inspection) readNodes(ctx context.Context) {
	in.nodesRead = pages(ctx, &in.denials, right{"list", "nodes", "", "the nodes' versions and addresses"}, metav1.ListOptions{}, in.clients.core.Nodes().List, func(page *corev1.NodeList) {
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
