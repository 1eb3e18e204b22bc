// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// nativeTimeout bounds nft, which answers in milliseconds.
const nativeTimeout = 5 * time.Second

// nativeRule is a rule of an nftables table that iptables does not know.
type nativeRule struct {
	where        string
	family       string // of its table: ip, ip6 or inet
	anywhere     bool   // it has no destination that can be read
	destinations []netip.Prefix
}

func (r nativeRule) touches(f Family, shoot []netip.Prefix) touch {
	if r.family == "ip" && f != IPv4 || r.family == "ip6" && f != IPv6 {
		return touchesNothing
	}
	if r.anywhere {
		return touchesAll
	}
	for _, p := range r.destinations {
		if touching(p, shoot) == touchesShoot {
			return touchesShoot
		}
	}
	return touchesNothing
}

// nativeRules asks nft(8), where the image has it, for rules that decide about
// packets in tables that are not iptables' own.
func (n *namespace) nativeRules(ctx context.Context) []nativeRule {
	if n.listNative == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, nativeTimeout)
	defer cancel()
	text, err := n.listNative(ctx)
	if err != nil {
		n.log.Debug("nftables' own tables cannot be read with nft", "error", err)
		return n.nativeChains()
	}
	rules, err := parseNative(text)
	if err != nil {
		n.log.Debug("nftables' own tables cannot be read", "error", err)
	}
	return rules
}

// passedHooks are those that a connection to the shoot meets, when it is made and
// where it arrives at the proxy port.
func passedHooks() []string { return []string{"output", "postrouting", "prerouting", "input"} }

// nativeChains names the chains that a connection to the shoot passes, for images
// without nft: what their rules do stays unknown.
func (n *namespace) nativeChains() []nativeRule {
	var all []nativeRule
	for name, protocol := range map[string]uint8{"ip": unix.NFPROTO_IPV4, "ip6": unix.NFPROTO_IPV6, "inet": unix.NFPROTO_INET} {
		chains, err := kernelChainsOf(protocol, name)
		if err != nil {
			n.log.Debug("the chains of nf_tables cannot be read", "family", name, "error", err)
		}
		for _, c := range chains {
			if slices.Contains(passedHooks(), c.hook) && (c.name != strings.ToUpper(c.hook) || !ofIPTables(name, c.table)) {
				all = append(all, nativeRule{family: name, anywhere: true, where: fmt.Sprintf("nft %s: %s", name, c)})
			}
		}
	}
	return all
}

// listNative runs nft on the calling goroutine's thread.
func listNative(ctx context.Context) ([]byte, error) {
	return exec.CommandContext(ctx, "nft", "-j", "list", "ruleset").Output()
}

// parseNative reads the rules of libnftables-json(5) that decide about packets
// in a table with a chain that locally made packets pass.
func parseNative(text []byte) ([]nativeRule, error) {
	var ruleset struct {
		Objects []struct {
			Chain *struct{ Family, Table, Name, Hook string } `json:"chain"`
			Rule  *struct {
				Family, Table, Chain string
				Handle               int
				Expr                 []map[string]json.RawMessage
			} `json:"rule"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(text, &ruleset); err != nil {
		return nil, fmt.Errorf("read the JSON of nft: %w", err)
	}
	passed := map[[2]string]bool{} // tables that locally made packets pass
	own := map[[3]string]bool{}    // their chains with names that iptables never gives to a hook
	for _, o := range ruleset.Objects {
		if c := o.Chain; c != nil && (c.Hook == "output" || c.Hook == "postrouting") {
			passed[[2]string{c.Family, c.Table}] = true
			own[[3]string{c.Family, c.Table, c.Name}] = c.Name != strings.ToUpper(c.Hook)
		}
	}
	var rules []nativeRule
	for _, o := range ruleset.Objects {
		r := o.Rule
		if r == nil || !passed[[2]string{r.Family, r.Table}] || ofIPTables(r.Family, r.Table) && !own[[3]string{r.Family, r.Table, r.Chain}] {
			continue
		}
		statement, ok := decides(r.Expr)
		if !ok {
			continue
		}
		one := nativeRule{
			family: r.Family, anywhere: true,
			where: fmt.Sprintf("nft table %s %s chain %s: rule with handle %d (%s)", r.Family, r.Table, r.Chain, r.Handle, statement),
		}
		for _, e := range r.Expr {
			if to, ok := matchedDestination(e["match"]); ok {
				one.anywhere, one.destinations = false, append(one.destinations, to...)
			}
		}
		rules = append(rules, one)
	}
	return rules, nil
}

// ofIPTables reports whether iptables-nft shows the table itself.
func ofIPTables(family, table string) bool {
	return (family == "ip" || family == "ip6") && slices.Contains([]string{"raw", "mangle", "nat", "filter", "security"}, table)
}

// decides returns the statement of a rule that changes where a packet goes, or
// whether.
func decides(expr []map[string]json.RawMessage) (statement string, ok bool) {
	for _, e := range expr {
		for name := range e {
			if slices.Contains([]string{"redirect", "dnat", "drop", "reject", "notrack", "tproxy", "queue"}, name) {
				return name, true
			}
		}
	}
	return "", false
}

// matchedDestination reads a match of the destination address. One against a
// named set says nothing that can be compared, and so is none.
func matchedDestination(match json.RawMessage) ([]netip.Prefix, bool) {
	var m struct {
		Op   string
		Left struct {
			Payload struct{ Protocol, Field string }
		}
		Right json.RawMessage
	}
	if match == nil || json.Unmarshal(match, &m) != nil || m.Left.Payload.Field != "daddr" || m.Op == "!=" {
		return nil, false
	}
	return addresses(m.Right)
}

// addresses reads an address, a prefix, a range or an anonymous set of them.
func addresses(value json.RawMessage) (all []netip.Prefix, ok bool) {
	var text string
	if json.Unmarshal(value, &text) == nil {
		p, ok := parseDestination(text)
		return []netip.Prefix{p}, ok
	}
	var object struct {
		Prefix *struct {
			Addr string
			Len  int
		}
		Range []string
		Set   []json.RawMessage
	}
	if json.Unmarshal(value, &object) != nil {
		return nil, false
	}
	switch {
	case object.Prefix != nil:
		a, err := netip.ParseAddr(object.Prefix.Addr)
		if err != nil {
			return nil, false
		}
		p, err := a.Prefix(object.Prefix.Len)
		return []netip.Prefix{p}, err == nil
	case len(object.Range) == 2:
		return commonPrefix(object.Range[0], object.Range[1])
	}
	for _, element := range object.Set {
		some, ok := addresses(element)
		if !ok {
			return nil, false
		}
		all = append(all, some...)
	}
	return all, len(all) > 0
}

// commonPrefix is the smallest prefix with both ends of a range: wide enough to
// miss none of it.
func commonPrefix(first, last string) ([]netip.Prefix, bool) {
	a, errA := netip.ParseAddr(first)
	b, errB := netip.ParseAddr(last)
	if errA != nil || errB != nil || a.BitLen() != b.BitLen() {
		return nil, false
	}
	for bits := a.BitLen(); bits >= 0; bits-- {
		if p, err := a.Prefix(bits); err == nil && p.Contains(b) {
			return []netip.Prefix{p}, true
		}
	}
	return nil, false
}
