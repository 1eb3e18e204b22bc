// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// TestFollowPredictsWhatHappens over random rules: the kernel does with each connection what
// Follow says before. The rules are ours with random flags, those of both backends of
// iptables, and native ones of nftables.
func TestFollowPredictsWhatHappens(t *testing.T) {
	results := make(chan map[netfilter.Result]int, rounds)
	t.Run("seeds", func(t *testing.T) {
		for seed := range uint64(rounds) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				results <- predictRandomRules(t, seed)
			})
		}
	})
	close(results)
	seen := map[netfilter.Result]int{}
	for some := range results {
		for result, n := range some {
			seen[result] += n
		}
	}
	t.Logf("predicted: %v", seen)
	for _, result := range []netfilter.Result{netfilter.Arrives, netfilter.Leaves, netfilter.Refused, netfilter.Rejected, netfilter.Dropped} {
		if seen[result] < rounds/2 {
			t.Errorf("%q was predicted %d times in %d rounds: the rules are not random enough", result, seen[result], rounds)
		}
	}
}

// rounds is how many random rulesets are tried.
const rounds = 16

// dice makes random rules of one family.
type dice struct {
	*rand.Rand
	family Family
	// untracks is set once a rule keeps packets from conntrack. Such a rule also takes the
	// answers to connections from outside, and so their translation.
	untracks *bool
}

func pick[T any](d dice, values ...T) T { return values[d.IntN(len(values))] }

// predictRandomRules writes random rules into a pod, and compares predictions.
func predictRandomRules(t *testing.T, seed uint64) map[netfilter.Result]int {
	d := dice{rand.New(rand.NewPCG(seed, 1)), IPv4, new(bool)}
	if d.IntN(2) == 0 {
		d.family = IPv6
	}
	c := newCrossing(t)
	if d.IntN(4) > 0 {
		cfg := configFor(shootCIDR(d.family))
		if d.IntN(2) == 0 {
			cfg.ExcludePorts, cfg.ExcludeUIDs = []uint16{443}, []uint32{1337}
		}
		c.apply(t, cfg, pick(d, bothBackends()...))
	}
	for range d.IntN(3) {
		b := pick(d, bothBackends()...)
		c.restore(t, d.family, b, d.tables(b))
	}
	for i := range d.IntN(3) {
		c.nft(t, d.native(i))
	}
	predicted := map[netfilter.Result]int{}
	for range 14 {
		for _, result := range c.predictAndTry(t, d.traffic()) {
			predicted[result]++
		}
	}
	if t.Failed() {
		t.Logf("iptables-nft:\n%s\niptables-legacy:\n%s\nnft:\n%s", c.rules(t, d.family, BackendNFT), c.rules(t, d.family, BackendLegacy), c.ruleset(t))
	}
	return predicted
}

// restore loads a script with iptables-restore.
func (c *crossing) restore(t *testing.T, f Family, b Backend, script string) {
	t.Helper()
	cmd := c.Command(program(f, b)+"-restore", "--noflush", "-w")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", cmd, err, out, script)
	}
}

// word returns the IPv4 or the IPv6 variant.
func (d dice) word(four, six string) string {
	if d.family == IPv4 {
		return four
	}
	return six
}

// addresses are destinations, some of them in the shoot.
func (d dice) address() string {
	return d.word(pick(d, "100.64.3.7", "100.64.5.1", "203.0.113.9"), pick(d, "fd00:10::3:7", "fd00:10:0:5::1", "2001:db8:7::9"))
}

func (d dice) prefix() string {
	return d.word(pick(d, "100.64.0.0/12", "100.64.3.0/24", "203.0.113.9/32", "0.0.0.0/1"), pick(d, "fd00:10::/48", "fd00:10::/112", "2001:db8:7::9/128", "8000::/1"))
}

// traffic returns a random connection: of an app, sometimes bound, or from outside.
func (d dice) traffic() Traffic {
	uid := pick(d, uint32(0), 1000, 1337, 14001, 65000)
	f := netnstest.IPv4
	if d.family == IPv6 {
		f = netnstest.IPv6
	}
	port := pick(d, uint16(80), 443, 9100, 8080, 15001)
	t := Traffic{UDP: d.IntN(3) == 0, UID: &uid, To: netip.AddrPortFrom(netip.MustParseAddr(d.address()), port)}
	switch d.IntN(8) {
	case 0:
		if *d.untracks {
			break
		}
		t.From = netip.AddrPortFrom(netnstest.RouterAddress(f), 0)
		t.To = netip.AddrPortFrom(netnstest.PodAddress(f), port)
	case 1:
		t.From = netip.AddrPortFrom(netnstest.PodAddress(f), 0)
	case 2:
		t.To = netip.AddrPortFrom(netnstest.PodAddress(f), port)
	case 3:
		t.To = netip.AddrPortFrom(netip.MustParseAddr(d.word("127.0.0.1", "::1")), port)
	case 4:
		t.Device = "eth0"
	}
	return t
}

// tables returns random rules for iptables-restore.
func (d dice) tables(b Backend) string {
	var script strings.Builder
	own := "RANDOM" + strings.ToUpper(string(b))
	for _, table := range []string{"raw", "mangle", "nat", "filter"} {
		if d.IntN(3) == 0 {
			continue
		}
		hooks := map[string][]string{
			"raw": {"OUTPUT", "PREROUTING"}, "mangle": {"OUTPUT", "PREROUTING", "INPUT", "POSTROUTING"},
			"nat": {"OUTPUT", "OUTPUT", "PREROUTING", "POSTROUTING"}, "filter": {"OUTPUT", "INPUT"},
		}[table]
		fmt.Fprintf(&script, "*%s\n:%s - [0:0]\n", table, own)
		for range 1 + d.IntN(3) {
			fmt.Fprintf(&script, "-A %s %s\n", own, d.rule(table, "OUTPUT", ""))
		}
		for range 1 + d.IntN(4) {
			hook := pick(d, hooks...)
			jump := own
			if hook != "OUTPUT" {
				jump = ""
			}
			fmt.Fprintf(&script, "-A %s %s\n", hook, d.rule(table, hook, jump))
		}
		script.WriteString("COMMIT\n")
	}
	return script.String()
}

// rule returns a random rule of iptables. A rule that ends connections is for the packet
// that begins one, so that it does not end the answers to another.
func (d dice) rule(table, hook, jump string) string {
	protocol := pick(d, "tcp", "tcp", "udp")
	words := []string{"-p", protocol}
	not := func() string { return pick(d, "", "", "! ") }
	output := hook == "OUTPUT"
	for range d.IntN(3) {
		words = append(words, pick(d,
			not()+"-d "+d.prefix(),
			not()+"-s "+d.word("10.99.0.2", "fdcc:99::2"),
			"-m "+protocol+" "+not()+"--dport "+pick(d, "80", "443", "9000:9200", "8080"),
			"-m multiport "+not()+"--dports "+pick(d, "80,443", "9100,1:100"),
			"-m mark "+not()+"--mark "+pick(d, "0x1", "0x1/0xff", "0x0"),
			"-m connmark --mark 0x1/0xff",
			"-m addrtype "+not()+"--dst-type LOCAL",
			"-m conntrack "+not()+"--ctstate "+pick(d, "NEW", "INVALID", "RELATED,ESTABLISHED", "UNTRACKED", "DNAT"),
			"-m conntrack --ctdir ORIGINAL",
			// What cannot be told from outside of the kernel.
			pick(d, "-m statistic --mode random --probability 0.5", "-m length --length 0:59", "-m comment --comment \"a comment\""),
			d.device(hook, not()),
		))
	}
	if output && d.IntN(3) == 0 {
		words = append(words, pick(d, "-m owner "+not()+"--uid-owner "+pick(d, "1337", "0", "14001"), "-m owner --uid-owner 1000-2000", "-m owner "+not()+"--gid-owner 1337"))
	}
	text := strings.Join(words, " ")
	if strings.Count(text, "--comment") > 1 || strings.Count(text, " -d ") > 1 || strings.Count(text, "-s ") > 1 || strings.Count(text, " -o ")+strings.Count(text, " -i ") > 1 || strings.Count(text, "--dport ") > 1 {
		return d.rule(table, hook, jump)
	}
	target := d.target(table, hook, protocol, jump)
	if strings.HasSuffix(target, "--notrack") {
		// The answers of the pod's own listeners, by lo, have to be tracked. And either all
		// packets of a connection are, or none.
		if strings.Contains(text, "-o ") || strings.Contains(text, "statistic") || strings.Contains(text, "length") {
			return d.rule(table, hook, jump)
		}
		text += " ! -o lo"
		*d.untracks = true
	}
	return text + " " + target
}

func (d dice) device(hook, not string) string {
	if hook == "OUTPUT" || hook == "POSTROUTING" {
		return not + "-o " + pick(d, "lo", "eth0", "e+")
	}
	return not + "-i " + pick(d, "lo", "eth0", "e+")
}

// target returns a random target.
func (d dice) target(table, hook, protocol, jump string) string {
	first := ""
	if protocol == "tcp" {
		first = "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN "
	} else if hook != "OUTPUT" {
		first = "-m conntrack --ctdir ORIGINAL "
		if table == "raw" {
			return "-j ACCEPT"
		}
	}
	all := []string{"-j ACCEPT", "-j RETURN"}
	if jump != "" {
		all = append(all, "-j "+jump, "-j "+jump, "-g "+jump)
	}
	switch table {
	case "raw":
		if protocol == "tcp" {
			all = append(all, first+"-j DROP")
		}
		if hook == "OUTPUT" {
			all = append(all, "-j CT --notrack", "-j CT --notrack")
		}
	case "mangle":
		all = append(all, first+"-j DROP", "-j MARK --set-xmark 0x1/0xff", "-j MARK --set-xmark 0x1/0xffffffff", "-j CONNMARK --save-mark", "-j CONNMARK --restore-mark", "-j MARK --or-mark 0x10")
	case "nat":
		return d.natTarget(hook, all)
	default:
		reject := "-j REJECT --reject-with " + d.word("icmp-port-unreachable", "icmp6-port-unreachable")
		if protocol == "tcp" {
			reject = "-j REJECT --reject-with tcp-reset"
		}
		all = append(all, first+"-j DROP", first+reject, first+reject)
	}
	return pick(d, all...)
}

func (d dice) natTarget(hook string, all []string) string {
	if hook == "POSTROUTING" {
		return pick(d, "-j MASQUERADE", "-j RETURN", "-j ACCEPT")
	}
	redirects := []string{"-j REDIRECT --to-ports 15001", "-j REDIRECT --to-ports 15006", "-j REDIRECT --to-ports 9", "-j REDIRECT"}
	if hook == "OUTPUT" {
		redirects = append(redirects,
			"-j DNAT --to-destination "+d.word("203.0.113.77", "2001:db8:7::77"),
			"-j DNAT --to-destination "+d.word("203.0.113.77:8443", "[2001:db8:7::77]:8443"),
			"-j DNAT --to-destination "+d.word("127.0.0.1:8080", "[::1]:8080"),
			"-j DNAT --to-destination :8080",
		)
	}
	return pick(d, append(all, redirects...)...)
}

// native returns a random table of nftables' own kind.
func (d dice) native(number int) string {
	var text strings.Builder
	family := pick(d, "inet", d.word("ip", "ip6"))
	fmt.Fprintf(&text, "table %s random%d {\n set ports {\n type inet_service; flags interval;\n elements = { 80, 9000-9200 }\n }\n", family, number)
	fmt.Fprintf(&text, " set ends {\n type %s . inet_service;\n elements = { %s . 9100, %s . 80 }\n }\n",
		d.word("ipv4_addr", "ipv6_addr"), d.word("100.64.3.7", "fd00:10::3:7"), d.word("203.0.113.9", "2001:db8:7::9"))
	fmt.Fprintf(&text, " map decisions {\n type inet_service : verdict;\n elements = { 80 : jump sub, 9100 : accept, 443 : return }\n }\n")
	fmt.Fprintf(&text, " chain sub {\n  %s\n }\n", d.nativeRule("nat", true))
	kind := pick(d, "nat", "nat", "filter", "route")
	priority := map[string][]int{"nat": {-110, -100, -90}, "filter": {-310, -150, 0, 5}, "route": {-150}}[kind]
	fmt.Fprintf(&text, " chain out {\n  type %s hook output priority %d; policy accept;\n", kind, pick(d, priority...))
	for range 1 + d.IntN(4) {
		rule := d.nativeRule(kind, kind == "nat")
		if d.IntN(5) == 0 && kind == "nat" {
			rule = "tcp dport vmap @decisions"
		}
		fmt.Fprintf(&text, "  %s\n", rule)
	}
	text.WriteString(" }\n}\n")
	return text.String()
}

func (d dice) nativeRule(kind string, nat bool) string {
	protocol := pick(d, "tcp", "tcp", "udp")
	ip := d.word("ip", "ip6")
	op := func() string { return pick(d, "", "", "!= ") }
	words := []string{"meta l4proto " + protocol}
	for range d.IntN(3) {
		words = append(words, pick(d,
			ip+" daddr "+op()+d.prefix(),
			ip+" daddr { "+d.word("100.64.5.1, 100.64.3.0-100.64.4.9", "fd00:10:0:5::1, fd00:10::3:0-fd00:10::3:9")+" }",
			protocol+" dport "+op()+pick(d, "80", "9000-9200", "{ 80, 443 }", "@ports"),
			ip+" daddr . "+protocol+" dport @ends",
			"meta skuid "+op()+pick(d, "1337", "{ 0, 1000-2000 }"),
			"meta skgid "+op()+"1337",
			"oifname "+op()+pick(d, `"lo"`, `"eth0"`, `"e*"`, `{ "lo", "eth1" }`),
			"meta mark "+pick(d, "0x1", "& 0xff == 0x1", "!= 0x1"),
			"ct state "+pick(d, "new", "established,related", "invalid", "untracked"),
			"ct direction original",
			"fib daddr type "+op()+"local",
			"th dport >= 1024",
			"meta length < 60",
		))
	}
	text := strings.Join(words, " ") + " counter "
	first := ""
	if protocol == "tcp" {
		first = "tcp flags & (fin|syn|rst|ack) == syn "
	}
	switch {
	case nat:
		return text + pick(d, "accept", "return", "redirect to :15001", "redirect to :15006", "redirect to :9", "redirect",
			"dnat "+ip+" to "+d.word("203.0.113.77:8443", "[2001:db8:7::77]:8443"), "dnat "+ip+" to "+d.word("127.0.0.1:8080", "[::1]:8080"))
	case kind == "route":
		return text + pick(d, "accept", "return", "meta mark set 0x1", "meta mark set meta mark | 0x1", "ct mark set 0x1", first+"drop")
	case strings.Contains(text, "length"): // not all packets of a connection, see rule
		return text + pick(d, "accept", "return", first+"drop", first+"reject")
	default:
		*d.untracks = true
		return text + pick(d, "accept", "return", first+"drop", first+"reject", `oifname != "lo" notrack`, "log accept", "meta mark set 0x1")
	}
}
