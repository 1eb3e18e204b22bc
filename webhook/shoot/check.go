// SPDX-License-Identifier: Apache-2.0

package shoot

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/webhook/inspect"
)

// named is how many addresses a sentence names.
const named = 5

// Check reads a shoot and compares it with the ranges that the seed's pods redirect. Each
// set of ranges is compared by itself: pods of different namespaces may be of different
// shoots.
func Check(ctx context.Context, config *rest.Config, shoots []inspect.Shoot) []inspect.Finding {
	c, err := read(ctx, config)
	if err != nil {
		return []inspect.Finding{problem("nodes", err)}
	}
	found := append(c.problems, c.checkAgents()...)
	if len(shoots) == 0 {
		return append(found, inspect.Finding{
			Check: "shoot-ranges", Group: inspect.GroupNetworks, Status: inspect.Skipped,
			Message: "No pod of the seed redirects any range, so there is nothing to compare the shoot with.",
			Next:    "label a pod first, or name the namespace of such pods with --namespace",
		})
	}
	some := false
	for i := range shoots {
		some = some || c.known(rangesOf(&shoots[i]))
	}
	for i := range shoots {
		r := rangesOf(&shoots[i])
		if some && !c.known(r) {
			found = append(found, inspect.Finding{
				Check: "shoot-ranges", Group: inspect.GroupNetworks, Status: inspect.OK, Objects: r.objects,
				Message: "These have the ranges of another shoot: no address of this one is in them.",
			})
			continue
		}
		found = append(found, c.compare(r)...)
	}
	return found
}

// known reports whether some address of the shoot is in the ranges.
func (c *cluster) known(r *ranges) bool {
	for _, k := range []*kind{&c.nodes, &c.pods, &c.services} {
		if slices.ContainsFunc(k.addresses, func(a address) bool { return r.holds(a.Addr) }) {
			return true
		}
	}
	return false
}

// compare compares the shoot with one set of ranges.
func (c *cluster) compare(r *ranges) []inspect.Finding {
	var found []inspect.Finding
	for _, k := range []*kind{&c.nodes, &c.pods, &c.services} {
		if k.read && len(k.addresses) > 0 {
			found = append(found, k.compare(r))
		}
	}
	if f := c.comparePodRanges(r); f != nil {
		found = append(found, *f)
	}
	return append(found, c.empty(r)...)
}

// compare compares the addresses of one kind of object with the ranges.
func (k *kind) compare(r *ranges) inspect.Finding {
	f := inspect.Finding{Check: "shoot-" + strings.ToLower(k.name) + "s", Group: inspect.GroupNetworks, Status: inspect.OK, Objects: r.objects}
	var out []address
	excluded := 0
	for _, a := range k.addresses {
		switch {
		case in(r.excluded, a.Addr):
			excluded++
		case !r.holds(a.Addr):
			out = append(out, a)
		}
	}
	aside := ""
	if excluded > 0 {
		aside = fmt.Sprintf(" excludeCIDRs leaves out %d on purpose.", excluded)
	}
	total := len(k.addresses) - excluded
	switch {
	case len(out) == 0:
		f.Message = fmt.Sprintf("The ranges hold all %d addresses of the shoot's %ss.%s", total, k.name, aside)
	case len(r.lists[k.list]) == 0 && len(out) == total:
		f.Status = inspect.Warning
		f.Message = fmt.Sprintf("The ranges hold none of the %d addresses of the shoot's %ss, and %s is not set: connections to these are not redirected.%s", total, k.name, k.list, aside)
		f.Next = fmt.Sprintf("if the pods are to reach the shoot's %ss, set %s in their configuration to %s, or to the whole network of these; then make the pods anew", k.name, k.list, joined(suggestion(plain(out))))
	default:
		f.Status = inspect.Failure
		f.Message = fmt.Sprintf("The ranges lack %d of the %d addresses of the shoot's %ss, so connections to these go into the seed's network: %s.%s", len(out), total, k.name, several(out), aside)
		f.Next = fmt.Sprintf("add %s, or the whole network of these, to %s in the configuration of these pods; then make the pods anew", joined(suggestion(plain(out))), k.list)
	}
	return f
}

// comparePodRanges compares the ranges from which nodes give addresses to their next pods.
func (c *cluster) comparePodRanges(r *ranges) *inspect.Finding {
	if len(c.podRanges) == 0 || len(r.lists[podCIDRs]) == 0 {
		return nil
	}
	f := &inspect.Finding{Check: "shoot-pod-ranges", Group: inspect.GroupNetworks, Status: inspect.OK, Objects: r.objects}
	var out []netip.Prefix
	var texts []string
	used := false
	for _, p := range c.podRanges {
		used = used || slices.ContainsFunc(c.pods.addresses, func(a address) bool { return p.Contains(a.Addr) })
		if !r.covers(podCIDRs, p.Prefix) {
			out = append(out, p.Prefix)
			texts = append(texts, fmt.Sprintf("%s (node %s)", p.Prefix, p.node))
		}
	}
	switch {
	case len(out) == 0:
		f.Message = fmt.Sprintf("podCIDRs hold the ranges of pods of all nodes (%d).", len(c.podRanges))
	case c.pods.read && len(c.pods.addresses) > 0 && !used:
		return nil // another program gives the addresses, such as Calico or Cilium
	default:
		f.Status = inspect.Warning
		f.Message = fmt.Sprintf("podCIDRs lack ranges from which nodes give addresses to new pods: %s.", shortened(texts))
		f.Next = fmt.Sprintf("add %s, or the whole network of the shoot's pods, to podCIDRs in the configuration of these pods; then make the pods anew", shortened(strings.Fields(strings.ReplaceAll(joined(out), ",", ""))))
	}
	return f
}

// empty finds ranges in which the shoot has nothing.
func (c *cluster) empty(r *ranges) []inspect.Finding {
	if !c.nodes.read || !c.pods.read || !c.services.read {
		return nil
	}
	var idle []string
	for _, list := range lists() {
		for _, p := range r.lists[list] {
			used := slices.ContainsFunc(c.podRanges, func(q podRange) bool { return p.Overlaps(q.Prefix) })
			for _, k := range []*kind{&c.nodes, &c.pods, &c.services} {
				used = used || slices.ContainsFunc(k.addresses, func(a address) bool { return p.Contains(a.Addr) })
			}
			if !used {
				idle = append(idle, fmt.Sprintf("%s (%s)", p, list))
			}
		}
	}
	if len(idle) == 0 {
		return nil
	}
	return []inspect.Finding{{
		Check: "shoot-ranges", Group: inspect.GroupNetworks, Status: inspect.Warning, Objects: r.objects,
		Message: fmt.Sprintf("No node, pod or Service of the shoot has an address in %s.", shortened(idle)),
		Next:    "correct these ranges if they are misspelt; remove them if the shoot has another network; leave them if they are for nodes to come",
	}}
}

// checkAgents says whether konnectivity's agents run in the shoot.
func (c *cluster) checkAgents() []inspect.Finding {
	if !c.pods.read {
		return nil
	}
	f := inspect.Finding{Check: "shoot-agents", Group: inspect.GroupNetworks, Status: inspect.OK}
	var up []string
	for _, a := range c.agents {
		name := "Pod " + a.namespace + "/" + a.name
		f.Objects = append(f.Objects, name)
		if a.ready {
			up = append(up, name)
		}
	}
	const logs = "kubectl --kubeconfig SHOOT_KUBECONFIG --namespace %s logs %s"
	switch {
	case len(c.agents) == 0:
		f.Status = inspect.Warning
		f.Message = "No pod of the shoot is konnectivity's agent, by its name, its labels k8s-app and app, or its image. Without an agent no connection reaches the shoot."
		f.Next = "look for the agents under another name, or install them: docs/install.md, The proxy-server"
	case len(up) == 0:
		f.Status = inspect.Failure
		f.Message = "None of konnectivity's agents in the shoot is ready: no connection reaches the shoot."
		f.Next = "see in an agent's log why it does not reach the proxy-server"
		f.Commands = []string{fmt.Sprintf(logs, c.agents[0].namespace, c.agents[0].name)}
	case len(up) < len(c.agents):
		f.Status = inspect.Warning
		f.Message = fmt.Sprintf("%d of %d of konnectivity's agents in the shoot are ready.", len(up), len(c.agents))
		f.Next = "see in the log of one of the others why it does not reach the proxy-server"
		i := slices.IndexFunc(c.agents, func(a agent) bool { return !a.ready })
		f.Objects = []string{"Pod " + c.agents[i].namespace + "/" + c.agents[i].name}
		f.Commands = []string{fmt.Sprintf(logs, c.agents[i].namespace, c.agents[i].name)}
	default:
		f.Message = fmt.Sprintf("All %d of konnectivity's agents in the shoot are ready.", len(up))
	}
	return []inspect.Finding{f}
}

func plain(all []address) []netip.Addr {
	var plain []netip.Addr
	for _, a := range all {
		plain = append(plain, a.Addr)
	}
	return plain
}

// several names some of the addresses, each with its object.
func several(all []address) string {
	var texts []string
	for _, a := range all {
		texts = append(texts, fmt.Sprintf("%s (%s)", a.Addr, a.object))
	}
	return shortened(texts)
}

func shortened(texts []string) string {
	if n := len(texts) - named; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(texts[:named], ", "), n)
	}
	return strings.Join(texts, ", ")
}

func joined(all []netip.Prefix) string {
	var texts []string
	for _, p := range all {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}
