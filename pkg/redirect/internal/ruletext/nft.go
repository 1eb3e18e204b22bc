// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ruletext

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// object is one entry of libnftables-json(5).
type object struct {
	Table *struct {
		Family, Name string
		Handle       int
	}
	Chain *struct {
		Family, Table, Name, Hook, Type, Policy string
		Prio                                    int
	}
	Rule *struct {
		Family, Table, Chain string
		Handle               int
		Expr                 []map[string]json.RawMessage
	}
	Set, Map *set
}

// set is a named set or map.
type set struct {
	Family, Table, Name string
	Elem                []json.RawMessage
}

// nftReader reads one ruleset of nft.
type nftReader struct {
	tables map[[2]string]*netfilter.Table
	sets   map[[3]string][]json.RawMessage
	texts  map[ruleKey]string
	// family and table are those of the rule that is read.
	family, table string
}

// ruleKey names a rule: nft numbers the objects of each table.
type ruleKey struct {
	family, table string
	handle        int
}

// NFT reads the tables that iptables does not show from the JSON of `nft -j list ruleset`,
// and the words of their rules from the text of `nft -a list ruleset`. Of a table of
// iptables it keeps the base chains that iptables does not show. It also returns the
// handles of all tables: the larger, the newer.
func NFT(text []byte, words string) (tables []*netfilter.Table, ages map[[2]string]int, err error) {
	var ruleset struct {
		Objects []object `json:"nftables"`
	}
	if err := json.Unmarshal(text, &ruleset); err != nil {
		return nil, nil, fmt.Errorf("read the JSON of nft: %w", err)
	}
	r := &nftReader{tables: map[[2]string]*netfilter.Table{}, sets: map[[3]string][]json.RawMessage{}, texts: ruleTexts(words)}
	ages = map[[2]string]int{}
	for _, o := range ruleset.Objects {
		r.declare(o, ages)
	}
	for _, o := range ruleset.Objects {
		if o.Rule != nil {
			r.rule(o)
		}
	}
	dormant := dormantTables(words)
	for id, t := range r.tables {
		if kept(t) && !dormant[id] {
			tables = append(tables, t)
		}
	}
	slices.SortFunc(tables, func(a, b *netfilter.Table) int { return strings.Compare(a.Title(), b.Title()) })
	return tables, ages, nil
}

// declare reads everything but rules.
func (r *nftReader) declare(o object, ages map[[2]string]int) {
	switch {
	case o.Table != nil:
		id := [2]string{o.Table.Family, o.Table.Name}
		ages[id] = o.Table.Handle
		r.tables[id] = &netfilter.Table{
			Origin: netfilter.OriginNative, Family: o.Table.Family, Name: o.Table.Name, Age: o.Table.Handle, Chains: map[string]*netfilter.Chain{},
		}
	case o.Chain != nil:
		t := r.tables[[2]string{o.Chain.Family, o.Chain.Table}]
		if t == nil {
			return
		}
		c := &netfilter.Chain{
			Table: t, Name: o.Chain.Name, Hook: o.Chain.Hook, Priority: o.Chain.Prio, Type: o.Chain.Type, DropPolicy: o.Chain.Policy == "drop",
		}
		if ofIPTables(t) && c.Hook != "" && c.Name == strings.ToUpper(c.Hook) {
			c.Hook = "" // iptables shows it
		}
		t.Chains[c.Name] = c
	case o.Set != nil:
		r.sets[[3]string{o.Set.Family, o.Set.Table, o.Set.Name}] = o.Set.Elem
	case o.Map != nil:
		r.sets[[3]string{o.Map.Family, o.Map.Table, o.Map.Name}] = o.Map.Elem
	}
}

// ofIPTables reports whether iptables-nft has tables of that name.
func ofIPTables(t *netfilter.Table) bool {
	return (t.Family == "ip" || t.Family == "ip6") && slices.Contains([]string{"raw", "mangle", "nat", "filter", "security"}, t.Name)
}

// kept reports whether a table is in the way of packets of IPv4 or IPv6.
func kept(t *netfilter.Table) bool {
	if !slices.Contains([]string{"ip", "ip6", "inet"}, t.Family) {
		return false
	}
	for _, c := range t.Chains {
		if c.Hook != "" {
			return true
		}
	}
	return false
}

// rule reads one rule.
func (r *nftReader) rule(o object) {
	t := r.tables[[2]string{o.Rule.Family, o.Rule.Table}]
	if t == nil || t.Chains[o.Rule.Chain] == nil {
		return
	}
	r.family, r.table = o.Rule.Family, o.Rule.Table
	c := t.Chains[o.Rule.Chain]
	rule := &netfilter.Rule{
		Chain: c, Number: len(c.Rules) + 1, Handle: o.Rule.Handle,
		Text: r.texts[ruleKey{o.Rule.Family, o.Rule.Table, o.Rule.Handle}],
	}
	if rule.Text == "" {
		text, _ := json.Marshal(o.Rule.Expr)
		rule.Text = string(text)
	}
	for _, e := range o.Rule.Expr {
		for name, body := range e {
			r.statement(rule, name, body)
		}
	}
	c.Rules = append(c.Rules, rule)
}

// dormantTables reads which tables have the flag dormant from `nft -a list ruleset`: the
// kernel calls no chain of theirs. In JSON, nft 1.0.6 writes the flags of a table as
// something else.
func dormantTables(words string) map[[2]string]bool {
	dormant := map[[2]string]bool{}
	var last []string
	for line := range strings.Lines(words) {
		fields := strings.Fields(line)
		if len(last) > 2 && last[0] == "table" && len(fields) > 0 && fields[0] == "flags" && strings.Contains(line, "dormant") {
			dormant[[2]string{last[1], last[2]}] = true
		}
		last = fields
	}
	return dormant
}

// counted finds the counts in a rule, which change.
var counted = regexp.MustCompile(`counter packets \d+ bytes \d+`)

// ruleTexts reads `nft -a list ruleset`. A rule ends with its handle in a remark.
func ruleTexts(words string) map[ruleKey]string {
	all := map[ruleKey]string{}
	var family, table, pending string
	for line := range strings.Lines(words) {
		line = strings.TrimSpace(line)
		fields := strings.Fields(line)
		text, remark, ended := cutLast(line, " # handle ")
		switch {
		case len(fields) >= 4 && fields[0] == "table" && fields[3] == "{":
			family, table, pending = fields[1], fields[2], ""
		case strings.HasSuffix(text, "{") && ended, line == "}", strings.HasPrefix(line, "type ") && strings.Contains(line, " hook "):
			pending = ""
		case ended:
			handle, err := strconv.Atoi(remark)
			if err == nil {
				all[ruleKey{family, table, handle}] = counted.ReplaceAllString(strings.TrimSpace(pending+" "+text), "counter")
			}
			pending = ""
		default:
			pending = strings.TrimSpace(pending + " " + line)
		}
	}
	return all
}

// cutLast cuts at the last separator.
func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}
