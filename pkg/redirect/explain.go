// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/explain"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/nftables"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/ruletext"
)

// Explanation says in words what the rules of a namespace do, ours and those of other
// programs, and whether the shoot's connections reach the sidecar.
type Explanation = explain.Explanation

// Path is what would become of a connection, rule by rule.
type Path = explain.Path

// Traffic is the connection that [Follow] follows.
type Traffic = explain.Traffic

// The errors of [Follow] for a source that this pod cannot answer, and for a device that it
// does not have.
var (
	ErrNoWayBack = explain.ErrNoWayBack
	ErrNoDevice  = explain.ErrNoDevice
)

// Explain reads the rules of all programs, in both backends and in nftables' own tables. It
// follows connections to each shoot CIDR through them as the kernel would, and sends
// nothing. If cfg is not nil, it also says how our rules differ from it.
func Explain(ctx context.Context, cfg *Config, opt Options) (explained *Explanation, err error) {
	err = inNamespace(ctx, opt, func(n *namespace) error {
		s, err := n.situation(ctx, cfg)
		if err == nil {
			explained = s.Explain()
		}
		return err
	})
	return explained, err
}

// Follow says what would become of a connection. It reads what [Explain] reads, and sends
// nothing. Where a rule has a condition that only the kernel can evaluate, such as a cgroup,
// the path has an outcome for each answer.
func Follow(ctx context.Context, t Traffic, opt Options) (path *Path, err error) {
	err = inNamespace(ctx, opt, func(n *namespace) error {
		s, err := n.situation(ctx, nil)
		if err == nil {
			path, err = s.Follow(t)
		}
		return err
	})
	return path, err
}

// situation reads the rules of all programs, and the network.
func (n *namespace) situation(ctx context.Context, cfg *Config) (*explain.Situation, error) {
	s := &explain.Situation{}
	var err error
	if s.Network, err = explain.ReadNetwork(); err != nil {
		return nil, err
	}
	if s.Rules, s.Notes, err = n.everyRule(ctx); err != nil {
		return nil, err
	}
	installed, err := n.installed()
	if err != nil || installed == nil {
		return s, err
	}
	t, err := installed.Config().target()
	if err != nil {
		s.Problems = []string{installed.forgotten(err)}
		s.Ours = &explain.Ours{ProxyPort: installed.ProxyPort, ProxyUID: installed.ProxyUID}
		return s, nil
	}
	s.Ours = t.ours()
	s.Problems = installed.incomplete(t)
	problems, err := n.structure(t)
	if err != nil {
		return nil, err
	}
	s.Problems = append(s.Problems, problems...)
	if cfg != nil {
		s.Differences, err = installed.Differences(*cfg)
	}
	return s, err
}

// ours returns what the rules of a target are for.
func (t *target) ours() *explain.Ours {
	o := &explain.Ours{
		Shoot: t.set.Shoot(), Exclude: t.set.Excluded(), ExcludePorts: t.cfg.ExcludePorts, ExcludeUIDs: t.cfg.ExcludeUIDs,
		ProxyPort: t.cfg.ProxyPort, ProxyUID: t.cfg.ProxyUID,
	}
	for _, f := range t.families() {
		o.Probes = append(append(o.Probes, t.probe[f]), t.inside[f]...)
	}
	return o
}

// everyRule reads the tables of both backends and those of nftables itself. Notes say what
// could not be read.
func (n *namespace) everyRule(ctx context.Context) (rules *netfilter.Ruleset, notes []string, err error) {
	native, ages, notes := n.nativeTables(ctx)
	rules = &netfilter.Ruleset{Tables: native}
	for _, f := range bothFamilies() {
		for _, b := range bothBackends() {
			t, err := n.open(f, b)
			if errors.Is(err, ErrMissingBinary) {
				continue // as find does
			}
			if err != nil {
				return nil, nil, err
			}
			for _, name := range []string{"raw", tableMangle, tableNAT, tableFilter, "security"} {
				listing, err := t.List(name)
				if err != nil {
					notes = append(notes, fmt.Sprintf("%s (%s) table %s: %v", f, b, name, err))
					rules.Tables = append(rules.Tables, ruletext.Unread(string(b), f == IPv6, name, "see above"))
					continue
				}
				table, err := ruletext.IPTables(string(b), f == IPv6, name, listing)
				if err != nil {
					return nil, nil, err
				}
				if b == BackendNFT {
					table.Age = ages[[2]string{table.Family, name}]
				}
				if len(table.Chains) > 0 {
					rules.Tables = append(rules.Tables, table)
				}
			}
		}
	}
	return rules, notes, nil
}

// nativeTables returns the tables that iptables does not show. If nft cannot be run, it
// returns their base chains without rules.
func (n *namespace) nativeTables(ctx context.Context) (tables []*netfilter.Table, ages map[[2]string]int, notes []string) {
	text, err := n.nftRuleset(ctx)
	if err == nil {
		words, wordsErr := nftables.RulesetText(ctx)
		tables, ages, err = ruletext.NFT(text, words)
		err = errors.Join(err, wordsErr)
	}
	if err == nil {
		return tables, ages, nil
	}
	chains := nftables.NativeChains(n.log)
	for _, c := range chains {
		t := &netfilter.Table{Origin: netfilter.OriginNative, Family: c.Family, Name: c.Table, Chains: map[string]*netfilter.Chain{}}
		t.Chains[c.Name] = &netfilter.Chain{
			Table: t, Name: c.Name, Hook: c.Hook, Priority: int(c.Priority), Type: c.Type, Unread: fmt.Sprintf("nft: %v", err),
		}
		tables = append(tables, t)
	}
	if len(chains) > 0 {
		notes = []string{fmt.Sprintf("the rules of %d chains of nftables: nft cannot be run: %v", len(chains), err)}
	}
	return slices.Clip(tables), nil, notes
}
