// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// maxSelectors is how many node selectors have their answer remembered.
const maxSelectors = 500

// nodes knows the kubelets' versions. It is told by an informer.
type nodes struct {
	mu     sync.Mutex
	all    map[string]node
	oldest map[string]int // by selector; made anew when a node changes
}

type node struct {
	labels map[string]string
	minor  int // 0: unknown
}

func newNodes() *nodes { return &nodes{all: map[string]node{}, oldest: map[string]int{}} }

// OnAdd implements cache.ResourceEventHandler.
func (n *nodes) OnAdd(object any, _ bool) {
	if o, ok := object.(*corev1.Node); ok {
		n.set(o.Name, node{o.Labels, minorVersion(o.Status.NodeInfo.KubeletVersion)})
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

func (n *nodes) set(name string, new node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	// Nodes report their state all the time, and rarely anything that matters here.
	if old, ok := n.all[name]; ok && old.minor == new.minor && maps.Equal(old.labels, new.labels) {
		return
	}
	n.all[name] = new
	clear(n.oldest)
}

// oldestFor returns the minor version of the oldest kubelet among the nodes on which
// a pod may run, as far as its node selector and its node's name say; 0 where one of
// them is not known, or where there is none.
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
		if !node.takes(spec.NodeSelector) {
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

// takes reports whether a pod with a selector may run here. None of ours runs on
// anything but Linux.
func (n node) takes(selector map[string]string) bool {
	if os, ok := n.labels[corev1.LabelOSStable]; ok && os != string(corev1.Linux) {
		return false
	}
	for name, value := range selector {
		if has, ok := n.labels[name]; !ok || has != value {
			return false
		}
	}
	return true
}

// selectorKey is one text for each selector, whatever is in it.
func selectorKey(selector map[string]string) string {
	var parts []string
	for name, value := range selector {
		parts = append(parts, strconv.Quote(name)+"="+strconv.Quote(value))
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// kubeletVersion is such as v1.33.2, with whatever a vendor adds.
var kubeletVersion = regexp.MustCompile(`^v?1\.(\d{1,4})(?:\D|$)`)

func minorVersion(version string) int {
	match := kubeletVersion.FindStringSubmatch(version)
	if match == nil {
		return 0
	}
	minor, _ := strconv.Atoi(match[1]) // up to four digits are a number
	return minor
}
