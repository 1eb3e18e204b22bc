// SPDX-License-Identifier: Apache-2.0

package shoot

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/webhook/inspect"
)

// Limits of what is read, so that a large cluster is not disturbed.
const (
	pageSize          = 500
	maxObjects        = 50_000
	requestsPerSecond = 50
	requestBurst      = 100
)

// address is an address of an object.
type address struct {
	netip.Addr
	object string
}

// kind are the addresses of all objects of one kind.
type kind struct {
	name      string // "node"
	list      string // the list of ranges that should hold them
	addresses []address
	read      bool // false: they could not be read
}

// cluster is what was read of the shoot.
type cluster struct {
	nodes, pods, services kind
	// podRanges are those from which the nodes give addresses to pods.
	podRanges []podRange
	agents    []agent
	problems  []inspect.Finding
}

type podRange struct {
	netip.Prefix
	node string
}

// read reads the shoot.
func read(ctx context.Context, config *rest.Config) (*cluster, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst, config.WarningHandler = requestsPerSecond, requestBurst, rest.NoWarnings{}
	config.AcceptContentTypes, config.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/json"
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c := &cluster{
		nodes:    kind{name: "node", list: nodeCIDRs},
		pods:     kind{name: "pod", list: podCIDRs},
		services: kind{name: "Service", list: serviceCIDRs},
	}
	c.nodes.read = pages(ctx, c, "nodes", core.Nodes().List, func(page *corev1.NodeList) int {
		for i := range page.Items {
			c.addNode(&page.Items[i])
		}
		return len(page.Items)
	})
	c.pods.read = pages(ctx, c, "pods", core.Pods(metav1.NamespaceAll).List, func(page *corev1.PodList) int {
		for i := range page.Items {
			c.addPod(&page.Items[i])
		}
		return len(page.Items)
	})
	c.services.read = pages(ctx, c, "services", core.Services(metav1.NamespaceAll).List, func(page *corev1.ServiceList) int {
		for i := range page.Items {
			c.addService(&page.Items[i])
		}
		return len(page.Items)
	})
	return c, nil
}

// pages reads all objects, a page at a time. It reports whether some could be read.
func pages[L interface{ GetContinue() string }](ctx context.Context, c *cluster, what string, list func(context.Context, metav1.ListOptions) (L, error), each func(L) int) bool {
	options := metav1.ListOptions{Limit: pageSize}
	for n := 0; ; {
		page, err := list(ctx, options)
		if err != nil {
			c.problems = append(c.problems, problem(what, err))
			return n > 0
		}
		n += each(page)
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return true
		}
		if n >= maxObjects {
			c.problems = append(c.problems, inspect.Finding{
				Check: "shoot-access", Group: inspect.GroupNetworks, Status: inspect.Skipped,
				Message: fmt.Sprintf("The shoot has more than %d %s, and only those were looked at.", maxObjects, what),
			})
			return true
		}
	}
}

// problem says why a part of the shoot could not be read.
func problem(what string, err error) inspect.Finding {
	f := inspect.Finding{Check: "shoot-access", Group: inspect.GroupNetworks, Status: inspect.Skipped}
	said := strings.Join(strings.Fields(err.Error()), " ")
	switch {
	case apierrors.IsForbidden(err):
		f.Message = fmt.Sprintf("You may not list the shoot's %s, so these were not compared with the ranges.", what)
		f.Next = "have that right given to you in the shoot, or use another --shoot-kubeconfig"
		f.Commands = []string{"kubectl auth can-i list " + what + " --all-namespaces"}
	case apierrors.IsUnauthorized(err):
		f.Message = fmt.Sprintf("The shoot's API server does not accept the identity in --shoot-kubeconfig, so its %s were not compared with the ranges.", what)
		f.Next = "fetch that kubeconfig anew: its certificate or token has expired, or it is of another cluster"
	default:
		f.Message = fmt.Sprintf("The shoot's API server could not be asked for its %s: %s", what, said)
		f.Next = "see whether kubectl reaches it with the file in --shoot-kubeconfig"
	}
	return f
}

func (c *cluster) addNode(n *corev1.Node) {
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			c.nodes.addresses = append(c.nodes.addresses, address{ip.Unmap(), n.Name})
		}
	}
	for _, text := range n.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			c.podRanges = append(c.podRanges, podRange{p.Masked(), n.Name})
		}
	}
}

func (c *cluster) addPod(p *corev1.Pod) {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return
	}
	if isAgent(p) {
		c.agents = append(c.agents, agent{p.Namespace, p.Name, isReady(p)})
	}
	if p.Spec.HostNetwork {
		return // it has the node's address
	}
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			c.pods.addresses = append(c.pods.addresses, address{a.Unmap(), p.Namespace + "/" + p.Name})
		}
	}
}

func (c *cluster) addService(s *corev1.Service) {
	for _, text := range s.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(text); err == nil { // "None" is no address
			c.services.addresses = append(c.services.addresses, address{a.Unmap(), s.Namespace + "/" + s.Name})
		}
	}
}

// agent is a pod that is konnectivity's agent, by its name, label or image.
type agent struct {
	namespace, name string
	ready           bool
}

// isAgent reports whether a pod is konnectivity's agent. Upstream's examples, kubeadm's
// addons, HyperShift, k0s and Kamaji use one of these names.
func isAgent(p *corev1.Pod) bool {
	names := []string{p.Name, p.Labels["k8s-app"], p.Labels["app"], p.Labels["app.kubernetes.io/name"]}
	for _, c := range p.Spec.Containers {
		names = append(names, c.Name, c.Image)
	}
	for _, name := range names {
		if strings.Contains(name, "konnectivity-agent") || strings.Contains(name, "proxy-agent") {
			return true
		}
	}
	return false
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
