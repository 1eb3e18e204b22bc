// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/condition"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
)

// Installed is what the rules in a namespace ask for, read from the rules. A field that they
// do not tell has its zero value.
type Installed struct {
	// Shoot and Exclude are aggregated and sorted, IPv4 first.
	Shoot   []netip.Prefix `json:"shoot"`
	Exclude []netip.Prefix `json:"exclude,omitempty"`
	// ExcludePorts and ExcludeUIDs are sorted.
	ExcludePorts []uint16 `json:"excludePorts,omitempty"`
	ExcludeUIDs  []uint32 `json:"excludeUIDs,omitempty"`
	ProxyPort    uint16   `json:"proxyPort"`
	ProxyUID     uint32   `json:"proxyUID"`
	// ProbePort was derived from all CIDRs when the rules were made. So it tells whether a
	// CIDR is missing now.
	ProbePort uint16 `json:"probePort"`
	// Backends holds the families that have chains of ours.
	Backends map[Family]Backend `json:"backends"`
}

// VerifyInstalled is [Verify] without a configuration: it reads what the rules ask for, and
// verifies that they are whole and that they work. If there are no rules of ours, the result
// is nil, and the error a [*VerifyError].
func VerifyInstalled(ctx context.Context, opt Options) (*Installed, error) {
	var installed *Installed
	err := inNamespace(ctx, opt, func(n *namespace) (err error) {
		if installed, err = n.installed(); err != nil {
			return err
		}
		if installed == nil {
			return &VerifyError{Problems: []string{nothingInstalled}}
		}
		t, err := installed.Config().target()
		if err != nil {
			return &VerifyError{Problems: []string{"chains of ours stand: " + installed.forgotten(err) + ": call redirect.Apply with the Config that they were made for"}}
		}
		if problems := installed.incomplete(t); len(problems) > 0 {
			return &VerifyError{Problems: problems}
		}
		return n.verify(ctx, t)
	})
	return installed, err
}

// nothingInstalled is the problem of a namespace without rules of ours.
const nothingInstalled = "nothing of package redirect stands in this network namespace: look whether this is the right one and whether redirect.Apply ran in it"

// Config returns the configuration that makes these rules, if they are whole.
func (i *Installed) Config() Config {
	return Config{
		Shoot: i.Shoot, Exclude: i.Exclude, ExcludePorts: i.ExcludePorts, ExcludeUIDs: i.ExcludeUIDs,
		ProxyPort: i.ProxyPort, ProxyUID: i.ProxyUID,
	}
}

// forgotten says why the rules do not make a configuration. err is what is wrong with it.
func (i *Installed) forgotten(err error) string {
	if len(i.Shoot) == 0 && i.ProxyPort == 0 {
		return "the chains of all tables are empty: something flushed them"
	}
	return fmt.Sprintf("they do not say any more what they were made for (%v)", err)
}

// incomplete lists what is missing in all chains, which a comparison of the chains with each
// other cannot show.
func (i *Installed) incomplete(t *target) []string {
	var all []string
	for _, f := range bothFamilies() {
		if b, ok := i.Backends[f]; ok && !t.has(f) {
			all = append(all, fmt.Sprintf("%s (%s): chains of ours stand, and have no rule for a shoot CIDR", f, b))
		}
	}
	// If the rules of all probes are missing, the comparison of the chains says so.
	if want := probe.Port(t.set); i.ProbePort != 0 && i.ProbePort != want {
		all = append(all, fmt.Sprintf("the rules that stand are for the shoot CIDRs %s%s, whose probe has port %d, and they were made for others, whose probe has port %d: rules were removed or added since",
			list(i.Shoot), except(i.Exclude), want, i.ProbePort))
	}
	return all
}

func except(excluded []netip.Prefix) string {
	if len(excluded) == 0 {
		return ""
	}
	return " except " + list(excluded)
}

// Differences lists, in words, how the rules differ from what a configuration asks for. It
// shows both sides of each difference.
func (i *Installed) Differences(cfg Config) ([]string, error) {
	t, err := cfg.target()
	if err != nil {
		return nil, err
	}
	var uids []uint32 // without the proxy's, which is exempt already
	for _, uid := range condition.Canonical(cfg.ExcludeUIDs) {
		if uid != cfg.ProxyUID {
			uids = append(uids, uid)
		}
	}
	var all []string
	for _, one := range []struct{ what, asked, stands string }{
		{"shoot CIDRs", list(t.redirectable(t.set.Shoot())), list(i.Shoot)},
		{"excluded CIDRs", list(t.redirectable(t.set.Excluded())), list(i.Exclude)},
		{"excluded ports", list(Ranges(cfg.ExcludePorts)), list(Ranges(i.ExcludePorts))},
		{"excluded uids", list(uids), list(i.ExcludeUIDs)},
		{"the proxy's port", fmt.Sprint(cfg.ProxyPort), fmt.Sprint(i.ProxyPort)},
		{"the proxy's uid", fmt.Sprint(cfg.ProxyUID), fmt.Sprint(i.ProxyUID)},
	} {
		if one.asked != one.stands {
			all = append(all, fmt.Sprintf("%s: asked for %s, and the rules that stand have %s", one.what, one.asked, one.stands))
		}
	}
	return all, nil
}

// redirectable leaves out the prefixes of a family without rules.
func (t *target) redirectable(all []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool { return !t.has(family.Of(p.Addr())) })
}

// String returns what the rules ask for, in one line.
func (i *Installed) String() string {
	var backends []string
	for _, f := range bothFamilies() {
		if b, ok := i.Backends[f]; ok {
			backends = append(backends, fmt.Sprintf("%s by %s", f, b))
		}
	}
	return fmt.Sprintf("shoot CIDRs %s; excluded CIDRs %s; excluded ports %s; excluded uids %s; proxy port %d; proxy uid %d; %s",
		list(i.Shoot), list(i.Exclude), list(Ranges(i.ExcludePorts)), list(i.ExcludeUIDs), i.ProxyPort, i.ProxyUID, strings.Join(backends, ", "))
}

// list returns values for people, with commas between them.
func list[T any](values []T) string {
	if len(values) == 0 {
		return "none"
	}
	words := make([]string, 0, len(values))
	for _, v := range values {
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, ",")
}

// installed reads what the rules ask for. The result is nil if there are none.
func (n *namespace) installed() (*Installed, error) {
	all, err := n.find()
	if err != nil {
		return nil, err
	}
	return installedIn(all), nil
}

// installedIn reads the first backend of each family. [namespace.prepare] warns of the other
// one.
func installedIn(all []installation) *Installed {
	i := &Installed{Backends: map[Family]Backend{}}
	for _, one := range all {
		if _, ok := i.Backends[one.family]; ok || len(one.state.chains) == 0 {
			continue
		}
		i.Backends[one.family] = one.backend
		i.read(one.state)
	}
	if len(i.Backends) == 0 {
		return nil
	}
	i.Shoot, i.Exclude = cidr.Aggregate(i.Shoot), cidr.Aggregate(i.Exclude)
	i.ExcludePorts, i.ExcludeUIDs = condition.Canonical(i.ExcludePorts), condition.Canonical(i.ExcludeUIDs)
	return i
}

// read takes each setting from any chain that has it. If another chain lacks it, the
// comparison of the chains finds that.
func (i *Installed) read(s *state) {
	for _, l := range s.chains[chainID{tableNAT, ChainRedirect}] {
		if l.Rule.ToPort != 0 && i.ProxyPort == 0 {
			i.ProxyPort = l.Rule.ToPort
		}
	}
	for _, l := range s.chains[chainID{tableMangle, ChainGuard}] { // table nat may have been flushed
		if len(l.Rule.Ports) == 1 && i.ProxyPort == 0 {
			i.ProxyPort = l.Rule.Ports[0]
		}
	}
	for _, id := range []chainID{{tableNAT, ChainOutput}, {tableFilter, ChainGuard}} {
		uidRules := 0
		for _, l := range s.chains[id] {
			if l.Rule.UID != nil {
				uidRules++
			}
			i.take(l.Rule, uidRules == 1)
		}
	}
}

// take reads one rule that [target.rulesOf] may have made, and skips others. The proxy's uid
// is that of the first rule for a uid.
func (i *Installed) take(r Rule, firstUID bool) {
	is := func(want Rule) bool { return r.String() == want.String() }
	isProbe := r.Destination == family.Host(probeOf(IPv4)) || r.Destination == family.Host(probeOf(IPv6))
	switch {
	case isProbe:
		if len(r.Ports) == 1 && r.Jump == ChainRedirect && i.ProbePort == 0 {
			i.ProbePort = r.Ports[0]
		}
	case r.Destination.IsValid():
		f := family.Of(r.Destination.Addr())
		switch {
		case is(Rule{Destination: r.Destination, TCP: true, Jump: ChainRedirect}),
			is(Rule{Destination: r.Destination, Jump: "REJECT", RejectWith: portUnreachable(f)}):
			i.Shoot = append(i.Shoot, r.Destination)
		case is(Rule{Destination: r.Destination, Jump: "RETURN"}):
			i.Exclude = append(i.Exclude, r.Destination)
		}
	case len(r.Ports) > 0 && is(Rule{TCP: true, Ports: r.Ports, Jump: "RETURN"}):
		i.ExcludePorts = append(i.ExcludePorts, r.Ports...)
	case r.UID != nil && is(Rule{UID: r.UID, Jump: "RETURN"}) && firstUID:
		if i.ProxyUID == 0 {
			i.ProxyUID = *r.UID
		}
	case r.UID != nil && is(Rule{UID: r.UID, Jump: "RETURN"}):
		i.ExcludeUIDs = append(i.ExcludeUIDs, *r.UID)
	}
}

// probeOf returns the address of a family's probe.
func probeOf(f Family) netip.Addr {
	if f == IPv4 {
		return probe.Target4(nil).Addr()
	}
	return probe.Target6(nil).Addr()
}
