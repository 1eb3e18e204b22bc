// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// FuzzConntrack: of all conntrack entries, only a TCP connection to our port on loopback is
// one of ours. Each of them can be shown.
func FuzzConntrack(f *testing.F) {
	app, shoot, loopback := net.IPv4(10, 0, 0, 7).To4(), net.IPv4(100, 64, 3, 7).To4(), net.IPv4(127, 0, 0, 1).To4()
	f.Add([]byte(app), []byte(shoot), []byte(loopback), uint16(9100), uint16(14001), byte(unix.IPPROTO_TCP), byte(3), uint64(1), true)
	f.Add([]byte(loopback), []byte(loopback), []byte(loopback), uint16(14001), uint16(14001), byte(unix.IPPROTO_TCP), byte(3), uint64(0), true)
	f.Add([]byte{}, []byte("12345"), []byte(net.IPv6loopback), uint16(0), uint16(14001), byte(unix.IPPROTO_TCP), byte(99), uint64(1)<<63, false)
	f.Add([]byte(app), []byte(shoot), []byte(net.IPv4(127, 0, 0, 1)), uint16(1), uint16(2), byte(unix.IPPROTO_UDP), byte(0), uint64(5), true)
	f.Fuzz(func(t *testing.T, source, destination, proxy []byte, port, from uint16, protocol, tcpState byte, began uint64, tcp bool) {
		flow := &netlink.ConntrackFlow{
			Forward:   netlink.IPTuple{SrcIP: source, DstIP: destination, DstPort: port, SrcPort: 41000, Protocol: protocol},
			Reverse:   netlink.IPTuple{SrcIP: proxy, SrcPort: from, Protocol: protocol},
			TimeStart: began,
		}
		if tcp {
			flow.ProtoInfo = &netlink.ProtoInfoTCP{State: tcpState}
		}
		c, ok := connectionOf(flow, 14001)
		if !ok {
			return
		}
		if protocol != unix.IPPROTO_TCP || from != 14001 || !net.IP(proxy).IsLoopback() {
			t.Fatalf("taken for one of ours: %+v", flow)
		}
		report := Report{Connections: []Connection{c}}
		if err := report.WriteTable(io.Discard); err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(report); err != nil {
			t.Fatalf("%+v cannot be shown: %v", c, err)
		}
	})
}

// FuzzListing: every listing is read or refused. The script that repairs the rules changes
// our chains alone, and it is empty if all is right.
func FuzzListing(f *testing.F) {
	rules, err := Build(configFor("100.64.0.0/12"))
	if err != nil {
		f.Fatal(err)
	}
	want := rules.Families[0]
	right := func(c Chain) string {
		lines := []string{"-N " + c.Name}
		for _, r := range c.Rules {
			lines = append(lines, "-A "+c.Name+" -c 1 60 "+r.String())
		}
		return strings.Join(lines, "\n")
	}
	for _, c := range want.Chains {
		f.Add("-P OUTPUT ACCEPT -c 0 0\n-A OUTPUT -c 7 420 -j "+c.Name, right(c))
		f.Add("-A OUTPUT -m comment --comment \"a \\\" b\" -c 7 420 -g "+c.Name+"\n# Warning: x", right(c)+"\n-A "+c.Name+" -c 0 0 -j DROP")
	}
	f.Add("-A OUTPUT", "-N X")
	f.Fuzz(func(t *testing.T, output, ours string) {
		above, err := rule.ParseChain(strings.Split(output, "\n"))
		if err != nil {
			return
		}
		inside, err := rule.ParseChain(strings.Split(ours, "\n"))
		if err != nil {
			return
		}
		for _, c := range want.Chains {
			s := &state{
				chains:  map[chainID][]rule.Listed{{c.Table, c.Name}: inside},
				builtin: map[string][]rule.Listed{c.Table: above},
			}
			differences := s.differences(FamilyRules{Family: want.Family, Chains: []Chain{c}}, BackendNFT)
			_, jumps := s.jumps(c)
			if fine := s.same(c) && (jumps || !c.First); fine != (len(differences) == 0) {
				t.Fatalf("all is right: %v, and yet %q", fine, differences)
			}
			checkScript(t, want.script(s))
			if s.empty() {
				t.Fatalf("chain %s stands, and nothing is said to", c.Name)
			}
		}
	})
}

// checkScript fails the test if a script touches other chains than ours.
func checkScript(t *testing.T, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "COMMIT" || strings.HasPrefix(line, "*"):
		case words[0] == "-A", words[0] == "-F", words[0] == "-X", strings.HasPrefix(line, ":"):
			if name := strings.TrimPrefix(words[min(1, len(words)-1)], ":"); !strings.HasPrefix(name, "PROXY_CLIENT") && !strings.HasPrefix(words[0], ":PROXY_CLIENT") {
				t.Fatalf("the script changes a chain of another program: %q", line)
			}
		case (words[0] == "-I" || words[0] == "-D") && (words[1] == builtinChain(tableNAT) || words[1] == builtinChain(tableMangle)):
			if !strings.Contains(line, "PROXY_CLIENT") {
				t.Fatalf("the script changes a rule of another program: %q", line)
			}
		default:
			t.Fatalf("the script says %q", line)
		}
	}
}
