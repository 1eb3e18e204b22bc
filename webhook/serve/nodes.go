// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/shoot-proxy/proxy-client/webhook/source"
)

// maxSelectors is how many node selectors have a cached answer.
const maxSelectors = 500

// nodes knows the kubelets' versions. It is the event handler of an informer.
type nodes struct {
	mu     sync.Mutex
	all    map[string]node
	oldest map[string]int // by selector; cleared when a node changes
}

type node struct {
	labels map[string]string
	minor  int // 0 means unknown
}

func newNodes() *nodes { return &nodes{all: map[string]node{}, oldest: map[string]int{}} }

// OnAdd implements cache.ResourceEventHandler.
func (n *nodes) OnAdd(object any, _ bool) {
	if o, ok := object.(*corev1.Node); ok {
		n.store(o.Name, node{o.Labels, source.KubeletMinor(o.Status.NodeInfo.KubeletVersion)})
	}
}

// OnUpdate implements cache.ResourceEventHandler.
func (n *nodes) OnUpdate(_, object any) { n.OnAdd(object, false) }

// OnDelete implements cache.ResourceEventHandler.
func (n *nodes) OnDelete(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	if o, ok := object.(*corev1.Node); ok {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.all, o.Name)
		clear(n.oldest)
	}
}

func (n *nodes) store(name string, new node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	// Nodes report their state all the time, but these values rarely change.
	if old, ok := n.all[name]; ok && old.minor == new.minor && maps.Equal(old.labels, new.labels) {
		return
	}
	n.all[name] = new
	clear(n.oldest)
}

// oldestFor returns the minor version of the oldest kubelet among the nodes on which a
// pod may run. These follow from the pod's node selector and its node's name. It returns
// 0 if the version of one of them is unknown, or if there is none.
func (n *nodes) oldestFor(spec *corev1.PodSpec) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if spec.NodeName != "" {
		return n.all[spec.NodeName].minor
	}
	key := selectorKey(spec.NodeSelector)
	if minor, ok := n.oldest[key]; ok {
		return minor
	}
	oldest := 0
	for _, node := range n.all {
		if !source.Accepts(node.labels, spec.NodeSelector) {
			continue
		}
		if node.minor == 0 {
			oldest = 0
			break
		}
		if oldest == 0 || node.minor < oldest {
			oldest = node.minor
		}
	}
	if len(n.oldest) >= maxSelectors {
		clear(n.oldest)
	}
	n.oldest[key] = oldest
	return oldest
}

// selectorKey returns a text that is different for each selector.
func selectorKey(selector map[string]string) string {
	var parts []string
	for name, value := range selector {
		parts = append(parts, strconv.Quote(name)+"="+strconv.Quote(value))
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
