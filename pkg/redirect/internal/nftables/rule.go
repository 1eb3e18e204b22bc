// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nftables

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/condition"
)

// rulesetTimeout bounds nft, which answers in milliseconds.
const rulesetTimeout = 5 * time.Second

// Rule is a rule of a table that iptables cannot show, or a whole chain of one.
type Rule struct {
	// Where names the rule for people.
	Where string
	// Family is that of its table: ip, ip6 or inet.
	Family string
	// Anywhere is set if the rule has no destination that can be read.
	Anywhere bool
	// Destinations are the destinations that the rule matches.
	Destinations []netip.Prefix
}

// passedHooks are the hooks that a connection to the shoot meets: when it is made, and
// when it arrives at the proxy port.
func passedHooks() []string { return []string{"output", "postrouting", "prerouting", "input"} }

// PassedChains returns the chains that a connection to the shoot passes, one Rule each.
// It is for images without nft: what the rules of these chains do stays unknown. A
// family that cannot be read is logged and left out.
func PassedChains(log *slog.Logger) []Rule {
	var all []Rule
	for _, c := range NativeChains(log) {
		if slices.Contains(passedHooks(), c.Hook) {
			all = append(all, Rule{Family: c.Family, Anywhere: true, Where: fmt.Sprintf("nft %s: %s", c.Family, c.Chain)})
		}
	}
	return all
}

// NativeChain is a base chain that iptables does not show.
type NativeChain struct {
	Chain
	// Family is "ip", "ip6" or "inet".
	Family string
}

// NativeChains returns the base chains that iptables does not show. A family that cannot be
// read is logged and left out.
func NativeChains(log *slog.Logger) []NativeChain {
	var all []NativeChain
	for name, protocol := range map[string]uint8{"ip": unix.NFPROTO_IPV4, "ip6": unix.NFPROTO_IPV6, "inet": unix.NFPROTO_INET} {
		chains, err := chainsOf(protocol, name)
		if err != nil {
			log.Debug("the chains of nf_tables cannot be read", "family", name, "error", err)
		}
		for _, c := range chains {
			if c.Hook != "" && (c.Name != strings.ToUpper(c.Hook) || !ofIPTables(name, c.Table)) {
				all = append(all, NativeChain{c, name})
			}
		}
	}
	return all
}

// Ruleset runs nft on the calling goroutine's thread. It returns all rules of that
// thread's network namespace as libnftables-json(5).
func Ruleset(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, rulesetTimeout)
	defer cancel()
	return exec.CommandContext(ctx, "nft", "-j", "list", "ruleset").Output()
}

// RulesetText is [Ruleset] as people read it. Each rule ends with its handle.
func RulesetText(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, rulesetTimeout)
	defer cancel()
	text, err := exec.CommandContext(ctx, "nft", "-a", "list", "ruleset").Output()
	return string(text), err
}

// ParseRules reads what [Ruleset] returns. It returns the rules that decide about packets
// and that iptables does not show. It skips tables without a chain that packets of this
// host pass on their way out.
func ParseRules(text []byte) ([]Rule, error) {
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
	passed := map[[2]string]bool{} // tables that packets of this host pass on their way out
	own := map[[3]string]bool{}    // their base chains whose names are not those of iptables
	for _, o := range ruleset.Objects {
		if c := o.Chain; c != nil && (c.Hook == "output" || c.Hook == "postrouting") {
			passed[[2]string{c.Family, c.Table}] = true
			own[[3]string{c.Family, c.Table, c.Name}] = c.Name != strings.ToUpper(c.Hook)
		}
	}
	var rules []Rule
	for _, o := range ruleset.Objects {
		r := o.Rule
		if r == nil || !passed[[2]string{r.Family, r.Table}] || ofIPTables(r.Family, r.Table) && !own[[3]string{r.Family, r.Table, r.Chain}] {
			continue
		}
		statement, ok := decides(r.Expr)
		if !ok {
			continue
		}
		one := Rule{
			Family: r.Family, Anywhere: true,
			Where: fmt.Sprintf("nft table %s %s chain %s: rule with handle %d (%s)", r.Family, r.Table, r.Chain, r.Handle, statement),
		}
		for _, e := range r.Expr {
			if to, ok := matchedDestination(e["match"]); ok {
				one.Anywhere, one.Destinations = false, append(one.Destinations, to...)
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

// decides returns the statement of a rule that drops a packet or changes where it goes.
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

// matchedDestination reads a match of the destination address. The result is false if it
// cannot be compared, such as a match with a named set.
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
		p, ok := condition.ParseDestination(text)
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

// commonPrefix returns the smallest prefix that contains both ends of a range, and so all
// of it.
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
