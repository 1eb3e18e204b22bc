// SPDX-License-Identifier: Apache-2.0

package shoot

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/webhook/inspect"
)

// addresses returns addresses of objects a0, a1 and so on.
func addresses(texts ...string) []address {
	var all []address
	for i, text := range texts {
		all = append(all, address{netip.MustParseAddr(text), "a" + string(rune('0'+i))})
	}
	return all
}

// whole is a shoot of which everything could be read.
func whole() *cluster {
	return &cluster{
		nodes:     kind{"node", nodeCIDRs, addresses("10.250.0.4", "10.250.0.5"), true},
		pods:      kind{"pod", podCIDRs, addresses("100.64.0.7", "100.64.1.8", "fd10::7"), true},
		services:  kind{"Service", serviceCIDRs, addresses("100.104.0.1", "100.104.0.10"), true},
		podRanges: []podRange{{netip.MustParsePrefix("100.64.0.0/24"), "n0"}, {netip.MustParsePrefix("100.64.1.0/24"), "n1"}},
	}
}

func fitting() inspect.Shoot {
	return inspect.Shoot{
		NodeCIDRs: []string{"10.250.0.0/16"}, PodCIDRs: []string{"100.64.0.0/12", "fd10::/64"}, ServiceCIDRs: []string{"100.104.0.0/13"},
		Objects: []string{"Pod monitoring/app-0"},
	}
}

// TestCompare: what is in no range is found, and what would hold it is said. Nothing else
// is blamed.
func TestCompare(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*inspect.Shoot, *cluster)
		// want are the findings that are not ok, each as "status check: text|text".
		want []string
	}{
		{"all fit", func(*inspect.Shoot, *cluster) {}, nil},
		{"a list that is not set", func(s *inspect.Shoot, _ *cluster) { s.NodeCIDRs = nil }, []string{
			"warning shoot-nodes: hold none of the 2 addresses of the shoot's nodes, and nodeCIDRs is not set|set nodeCIDRs in their configuration to 10.250.0.0/24",
		}},
		{"a node in another network", func(_ *inspect.Shoot, c *cluster) {
			c.nodes.addresses = append(c.nodes.addresses, addresses("10.180.7.9")...)
		}, []string{"failure shoot-nodes: lack 1 of the 3 addresses of the shoot's nodes|10.180.7.9 (a0)|add 10.180.7.0/24"}},
		{"pods far from each other", func(s *inspect.Shoot, c *cluster) {
			c.pods.addresses = addresses("100.64.0.1", "10.1.2.3", "10.1.9.3", "10.7.0.1")
		}, []string{
			"failure shoot-pods: lack 3 of the 4 addresses|add 10.1.0.0/20, 10.7.0.0/24",
			"warning shoot-ranges: has an address in fd10::/64 (podCIDRs)",
		}},
		{"one family is left out", func(s *inspect.Shoot, _ *cluster) { s.PodCIDRs = s.PodCIDRs[:1] }, []string{
			"failure shoot-pods: lack 1 of the 3 addresses of the shoot's pods|fd10::7|add fd10::/64",
		}},
		{"an exception is no fault", func(s *inspect.Shoot, c *cluster) {
			s.ExcludeCIDRs = []string{"10.250.0.5/32"}
		}, nil},
		{"a range that only new pods will need", func(_ *inspect.Shoot, c *cluster) {
			c.podRanges = append(c.podRanges, podRange{netip.MustParsePrefix("100.96.2.0/24"), "n2"})
		}, []string{"warning shoot-pod-ranges: 100.96.2.0/24 (node n2)|add 100.96.2.0/24"}},
		{"ranges of nodes that no pod uses", func(_ *inspect.Shoot, c *cluster) {
			c.podRanges = []podRange{{netip.MustParsePrefix("192.168.0.0/24"), "n0"}}
		}, nil},
		{"a range with a slip", func(s *inspect.Shoot, _ *cluster) { s.ServiceCIDRs = []string{"100.105.0.0/16"} }, []string{
			"failure shoot-services: lack 2 of the 2 addresses of the shoot's Services|add 100.104.0.0/24",
			"warning shoot-ranges: has an address in 100.105.0.0/16 (serviceCIDRs)|correct these ranges if they are misspelt",
		}},
		{"the wrong list holds them", func(s *inspect.Shoot, _ *cluster) {
			s.PodCIDRs, s.ServiceCIDRs = append(s.PodCIDRs, s.ServiceCIDRs...), nil
		}, nil},
		{"nodes that could not be read", func(_ *inspect.Shoot, c *cluster) { c.nodes = kind{name: "node", list: nodeCIDRs} }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := fitting(), whole()
			tt.change(&s, c)
			var bad []inspect.Finding
			for _, f := range c.compare(rangesOf(&s)) {
				if f.Status != inspect.OK {
					bad = append(bad, f)
				}
			}
			if len(bad) != len(tt.want) {
				t.Fatalf("%d findings, want %d: %+v", len(bad), len(tt.want), bad)
			}
			for i, f := range bad {
				head, texts, _ := strings.Cut(tt.want[i], ": ")
				if got := string(f.Status) + " " + f.Check; got != head {
					t.Errorf("finding %d is %s, want %s", i, got, head)
				}
				for text := range strings.SplitSeq(texts, "|") {
					if said := f.Message + " " + f.Next; !strings.Contains(said, text) {
						t.Errorf("no %q in: %s", text, said)
					}
				}
			}
		})
	}
}

// TestSuggestion: a suggested range holds the addresses, and is no wider than a network.
func TestSuggestion(t *testing.T) {
	for want, texts := range map[string][]string{
		"10.0.1.0/24":                {"10.0.1.1"},
		"10.0.0.0/22":                {"10.0.1.1", "10.0.3.255"},
		"10.0.0.0/16":                {"10.0.0.1", "10.0.255.1"},
		"10.0.0.0/24, 10.1.0.0/24":   {"10.1.0.1", "10.0.0.1"},
		"fd00:0:0:1::/64":            {"fd00:0:0:1::1"},
		"fd00::/63, fd01:0:0:1::/64": {"fd01:0:0:1::1", "fd00:0:0:1::1", "fd00::1"},
	} {
		if got := joined(suggestion(plain(addresses(texts...)))); got != want {
			t.Errorf("%q: got %s, want %s", texts, got, want)
		}
	}
}

// TestAgents: what is said of agents that are not there, or not ready.
func TestAgents(t *testing.T) {
	for _, tt := range []struct {
		agents []agent
		status inspect.Status
		want   string
	}{
		{nil, inspect.Warning, "No pod of the shoot is konnectivity's agent"},
		{[]agent{{"kube-system", "a", false}}, inspect.Failure, "None of konnectivity's agents"},
		{[]agent{{"kube-system", "a", true}, {"kube-system", "b", false}}, inspect.Warning, "1 of 2 of konnectivity's agents"},
		{[]agent{{"kube-system", "a", true}}, inspect.OK, "All 1 of"},
	} {
		c := whole()
		c.agents = tt.agents
		f := c.checkAgents()
		if len(f) != 1 || f[0].Status != tt.status || !strings.HasPrefix(f[0].Message, tt.want) {
			t.Errorf("%v: got %+v", tt.agents, f)
		}
	}
}
