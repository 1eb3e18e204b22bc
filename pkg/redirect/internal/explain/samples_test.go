// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/ruletext"
)

// pod is a network with a sidecar.
type pod struct{}

func (pod) Route(q netfilter.Query) (netfilter.Route, error) {
	if q.Destination.IsLoopback() {
		return netfilter.Route{Device: "lo", Source: q.Destination, Local: true}, nil
	}
	return netfilter.Route{Device: "eth0", Source: netip.MustParseAddr("10.0.0.2")}, nil
}
func (pod) IsLocal(a netip.Addr) bool                    { return a.IsLoopback() }
func (pod) FirstAddress(string, bool) (netip.Addr, bool) { return netip.Addr{}, false }
func (pod) Listener(_ string, at netip.AddrPort) (uid uint32, is bool) {
	return 14001, at.Port() == 14001
}

// explained explains a pod with a rule of ours and rules of others in table filter.
func explained(t *testing.T, others ...string) *Explanation {
	t.Helper()
	shoot := netip.MustParsePrefix("100.64.0.0/12")
	s := &Situation{
		Rules: &netfilter.Ruleset{}, Network: pod{},
		Ours: &Ours{Shoot: []netip.Prefix{shoot}, ProxyPort: 14001, ProxyUID: 14001},
	}
	for table, chains := range map[string]map[string][]string{
		"nat": {
			"OUTPUT":              {"-P OUTPUT ACCEPT", "-A OUTPUT -j PROXY_CLIENT_OUTPUT"},
			"PROXY_CLIENT_OUTPUT": {"-N PROXY_CLIENT_OUTPUT", "-A PROXY_CLIENT_OUTPUT -d 100.64.0.0/12 -p tcp -j REDIRECT --to-ports 14001"},
		},
		"filter": {
			"OUTPUT":             {"-P OUTPUT ACCEPT", "-A OUTPUT -j PROXY_CLIENT_GUARD"},
			"PROXY_CLIENT_GUARD": {"-N PROXY_CLIENT_GUARD", "-A PROXY_CLIENT_GUARD -d 100.64.0.0/12 -j REJECT"},
		},
		"mangle": {"OUTPUT": append([]string{"-P OUTPUT ACCEPT"}, others...)},
	} {
		read, err := ruletext.IPTables(netfilter.OriginNFT, false, table, chains)
		if err != nil {
			t.Fatal(err)
		}
		s.Rules.Tables = append(s.Rules.Tables, read)
	}
	return s.Explain()
}

// TestEachNamedPortAndAddressIsTried: a rule that drops one port or address is found behind
// rules that name many others.
func TestEachNamedPortAndAddressIsTried(t *testing.T) {
	if e := explained(t); !e.Right {
		t.Fatalf("the pod without other rules is not right: %+v", e.Problems)
	}
	var ports, addresses, users []string
	for i := range 40 {
		ports = append(ports, fmt.Sprintf("-A OUTPUT -p tcp -m tcp --dport %d -j ACCEPT", 2000+i))
		addresses = append(addresses, fmt.Sprintf("-A OUTPUT -d 100.65.0.%d/32 -j ACCEPT", i+1))
		users = append(users, fmt.Sprintf("-A OUTPUT -m owner --uid-owner %d -j ACCEPT", 5000+i))
	}
	for _, test := range []struct {
		others []string
		drops  string
		want   string
	}{
		{ports, "-A OUTPUT -p tcp -m tcp --dport 9100 -j DROP", ":9100 (uid"},
		{addresses, "-A OUTPUT -d 100.66.0.9/32 -p tcp -j DROP", "100.66.0.9:"},
		{users, "-A OUTPUT -p tcp -m owner --uid-owner 7777 -j DROP", "(uid 7777)"},
	} {
		e := explained(t, append(test.others, test.drops)...)
		if e.Right || len(e.Problems) != 1 || !strings.Contains(e.Problems[0].Text, test.want) {
			t.Errorf("%s: right %v, problems %+v, want one with %q", test.drops, e.Right, e.Problems, test.want)
		}
	}
}

// TestARuleForTheKubeletsPortIsForThatPort: the sample that stands for a whole CIDR has a port
// that no rule names.
func TestARuleForTheKubeletsPortIsForThatPort(t *testing.T) {
	e := explained(t, "-A OUTPUT -p tcp -m tcp --dport 10250 -j DROP")
	if len(e.Problems) != 1 || !strings.Contains(e.Problems[0].Text, ":10250 (uid") || strings.Contains(e.Problems[0].Text, "100.64.0.0/12 ") {
		t.Errorf("problems %+v, want one about port 10250 alone", e.Problems)
	}
}

// TestARuleCannotChangeTheTerminal: any program in the pod with NET_ADMIN writes comments.
func TestARuleCannotChangeTheTerminal(t *testing.T) {
	e := explained(t, "-A OUTPUT -d 100.66.0.9/32 -m comment --comment \"\x1b[2J\u009b2J\" -j DROP")
	var text strings.Builder
	if err := e.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	path := Path{Connection: "c", Outcomes: []Outcome{{Verdict: "dropped by \x1b[2J", Steps: []Step{{Rule: "\u009b2J", Text: "\a"}}}}}
	if err := path.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text.String(), "\x1b\u009b\a") {
		t.Errorf("the text has control characters: %q", text.String())
	}
	if !strings.Contains(text.String(), "\n") {
		t.Errorf("the text has no lines: %q", text.String())
	}
}

// TestWhatCannotBeReadIsNotRight: if rules could not be read, nobody knows.
func TestWhatCannotBeReadIsNotRight(t *testing.T) {
	s := &Situation{Rules: &netfilter.Ruleset{}, Network: pod{}, Ours: &Ours{ProxyPort: 14001, ProxyUID: 14001}, Notes: []string{"IPv4 (nft) table raw: broken"}}
	e := s.Explain()
	if e.Right || strings.Contains(e.Summary, "Everything is right") {
		t.Errorf("right %v, %q, although a table could not be read", e.Right, e.Summary)
	}
	s.Notes = nil
	if e := s.Explain(); !e.Right || !strings.HasPrefix(e.Summary, "Everything is right") {
		t.Errorf("right %v, %q, although all was read", e.Right, e.Summary)
	}
}
