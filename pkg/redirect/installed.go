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
)

// Installed is what the rules that stand ask for, read from the rules. The zero
// value of a field is what they do not say.
type Installed struct {
	// Shoot and Exclude are aggregated and sorted, IPv4 first.
	Shoot   []netip.Prefix `json:"shoot"`
	Exclude []netip.Prefix `json:"exclude,omitempty"`
	// ExcludePorts and ExcludeUIDs are sorted.
	ExcludePorts []uint16 `json:"excludePorts,omitempty"`
	ExcludeUIDs  []uint32 `json:"excludeUIDs,omitempty"`
	ProxyPort    uint16   `json:"proxyPort"`
	ProxyUID     uint32   `json:"proxyUID"`
	// ProbePort was derived from all CIDRs when the rules were made, so it
	// tells whether one of them is missing now.
	ProbePort uint16 `json:"probePort"`
	// Backends holds the families in which chains of ours stand.
	Backends map[Family]Backend `json:"backends"`
}

// VerifyInstalled is [Verify] without a configuration: it reads what the rules
// that stand ask for, and verifies that they are whole and that they work. The
// result is nil where nothing of ours stands, which is a [*VerifyError] too.
func VerifyInstalled(ctx context.Context, opt Options) (*Installed, error) {
	var installed *Installed
	err := inside(ctx, opt, func(n *namespace) (err error) {
		if installed, err = n.installed(); err != nil {
			return err
		}
		if installed == nil {
			return &VerifyError{Problems: []string{nothingStands}}
		}
		t, err := installed.Config().target()
		if err != nil {
			return &VerifyError{Problems: []string{fmt.Sprintf("chains of ours stand, and do not say any more what they were made for (%v): call redirect.Apply with the Config that they were made for", err)}}
		}
		if problems := installed.incomplete(t); len(problems) > 0 {
			return &VerifyError{Problems: problems}
		}
		return n.verify(ctx, t)
	})
	return installed, err
}

// nothingStands is the problem of a namespace without rules of ours.
const nothingStands = "nothing of package redirect stands in this network namespace: look whether this is the right one and whether redirect.Apply ran in it"

// Config is the configuration that makes the rules that stand, if they are
// whole.
func (i *Installed) Config() Config {
	return Config{
		Shoot: i.Shoot, Exclude: i.Exclude, ExcludePorts: i.ExcludePorts, ExcludeUIDs: i.ExcludeUIDs,
		ProxyPort: i.ProxyPort, ProxyUID: i.ProxyUID,
	}
}

// incomplete finds what is missing from each chain, which no comparison of the
// chains with each other can show.
func (i *Installed) incomplete(t *target) []string {
	var all []string
	for _, f := range []Family{IPv4, IPv6} {
		if b, ok := i.Backends[f]; ok && !t.has(f) {
			all = append(all, fmt.Sprintf("%s (%s): chains of ours stand, and have no rule for a shoot CIDR", f, b))
		}
	}
	if want := probe.Port(t.set); i.ProbePort != want {
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

// Differences says, in words, how the rules that stand differ from what a
// configuration asks for. It shows both sides of what differs.
func (i *Installed) Differences(cfg Config) ([]string, error) {
	t, err := cfg.target()
	if err != nil {
		return nil, err
	}
	var uids []uint32 // that of the proxy is exempt already
	for _, uid := range canonical(cfg.ExcludeUIDs) {
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
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool {
		return !slices.ContainsFunc(t.families(), func(f Family) bool { return f.of(p) })
	})
}

// String is what the rules ask for, in one line.
func (i *Installed) String() string {
	var backends []string
	for _, f := range []Family{IPv4, IPv6} {
		if b, ok := i.Backends[f]; ok {
			backends = append(backends, fmt.Sprintf("%s by %s", f, b))
		}
	}
	return fmt.Sprintf("shoot CIDRs %s; excluded CIDRs %s; excluded ports %s; excluded uids %s; proxy port %d; proxy uid %d; %s",
		list(i.Shoot), list(i.Exclude), list(Ranges(i.ExcludePorts)), list(i.ExcludeUIDs), i.ProxyPort, i.ProxyUID, strings.Join(backends, ", "))
}

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

// installed reads what the rules that stand ask for; nil where none stand. The
// caller is in the namespace.
func (n *namespace) installed() (*Installed, error) {
	some, err := n.find()
	if err != nil {
		return nil, err
	}
	return installedIn(some), nil
}

// installedIn reads the first backend of each family: [namespace.prepare] warns
// of the other.
func installedIn(some []found) *Installed {
	i := &Installed{Backends: map[Family]Backend{}}
	for _, f := range some {
		if _, ok := i.Backends[f.family]; ok || len(f.state.chains) == 0 {
			continue
		}
		i.Backends[f.family] = f.backend
		i.read(f.state)
	}
	if len(i.Backends) == 0 {
		return nil
	}
	i.Shoot, i.Exclude = cidr.Aggregate(i.Shoot), cidr.Aggregate(i.Exclude)
	i.ExcludePorts, i.ExcludeUIDs = canonical(i.ExcludePorts), canonical(i.ExcludeUIDs)
	return i
}

// read takes each wish from wherever it stands: one that is in one chain and
// not in another one is a difference that the comparison then finds.
func (i *Installed) read(s *state) {
	for _, l := range s.chains[chainID{tableNAT, ChainRedirect}] {
		if l.rule.ToPort != 0 && i.ProxyPort == 0 {
			i.ProxyPort = l.rule.ToPort
		}
	}
	for _, id := range []chainID{{tableNAT, ChainOutput}, {tableFilter, ChainGuard}} {
		uidRules := 0
		for _, l := range s.chains[id] {
			if l.rule.UID != nil {
				uidRules++
			}
			i.take(l.rule, uidRules == 1)
		}
	}
}

// take reads one rule that [target.rulesOf] may have made, and leaves others
// alone. The proxy's uid is that of the first rule for a uid.
func (i *Installed) take(r Rule, firstUID bool) {
	is := func(want Rule) bool { return r.String() == want.String() }
	isProbe := r.Destination == host(probeOf(IPv4)) || r.Destination == host(probeOf(IPv6))
	switch {
	case isProbe:
		if len(r.Ports) == 1 && r.Jump == ChainRedirect && i.ProbePort == 0 {
			i.ProbePort = r.Ports[0]
		}
	case r.Destination.IsValid():
		f := IPv4
		if !f.of(r.Destination) {
			f = IPv6
		}
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

// probeOf is the address of a family's probe.
func probeOf(f Family) netip.Addr {
	if f == IPv4 {
		return probe.Target4(nil).Addr()
	}
	return probe.Target6(nil).Addr()
}
