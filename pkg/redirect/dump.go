// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/routes"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// Report is what there is of ours in a namespace, for people and, as JSON, for scripts.
type Report struct {
	// Asks is what the rules ask for. It is nil if there are none.
	Asks *Installed `json:"asks,omitempty"`
	// Differences holds how that differs from a configuration; [Report.Compare] sets it.
	Differences []string `json:"differences,omitempty"`
	// Rules holds the jumps to our chains, and the rules of our chains.
	Rules []RuleReport `json:"rules"`
	// Reach holds the routes that Apply gave to the pod's devices, and the address and
	// routes that it gave to a pod without the shoot's family. Each is written as the
	// ip(8) command that would take it away.
	Reach []string `json:"reach,omitempty"`
	// Connections holds the redirected connections that conntrack knows.
	Connections []Connection `json:"connections"`
	// ConnectionsPartial is set if Connections may lack some: the kernel's table changed
	// each time that it was read.
	ConnectionsPartial bool `json:"connectionsPartial,omitempty"`
}

// RuleReport is one rule with its counters.
type RuleReport struct {
	Family  Family  `json:"family"`
	Backend Backend `json:"backend"`
	Table   string  `json:"table"`
	Chain   string  `json:"chain"`
	// Number counts from 1 in the chain.
	Number int `json:"number"`
	// Packets and Bytes count what the rule matched. Table nat sees only the first packet
	// of a connection.
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// Rule is in the words of iptables.
	Rule string `json:"rule"`
}

// Dump reads what there is of ours, in both families and, if opt.Backend is auto, in both
// backends, with the connections that were redirected. It needs no configuration and changes
// nothing.
func Dump(ctx context.Context, opt Options) (*Report, error) {
	report := &Report{Rules: []RuleReport{}, Connections: []Connection{}}
	err := inNamespace(ctx, opt, func(n *namespace) error {
		all, err := n.find()
		if err != nil {
			return err
		}
		report.Asks = installedIn(all)
		var ports []uint16
		for _, one := range all {
			report.Rules = append(report.Rules, one.report()...)
			ports = append(ports, one.state.redirectPorts()...)
		}
		steps, err := routes.Removal()
		if err != nil {
			return err
		}
		report.Reach = routes.Texts(steps)
		if len(ports) == 0 {
			return nil
		}
		redirected, partial, err := connections(ports)
		report.Connections = append(report.Connections, redirected...)
		report.markProbes()
		report.ConnectionsPartial = partial
		return err
	})
	return report, err
}

// markProbes sets Probe of the connections by which the redirect is checked.
func (r *Report) markProbes() {
	if r.Asks == nil {
		return
	}
	t, err := r.Asks.Config().target()
	if err != nil {
		return // too few rules are left to derive the probes
	}
	targets := slices.Concat(probe.Targets(t.set), probe.Inside(t.set))
	for i := range r.Connections {
		r.Connections[i].Probe = slices.Contains(targets, r.Connections[i].OriginalDestination)
	}
}

// Compare sets Differences to how the rules differ from what cfg asks for.
func (r *Report) Compare(cfg Config) (err error) {
	r.Differences = []string{nothingInstalled}
	if r.Asks != nil {
		r.Differences, err = r.Asks.Differences(cfg)
	}
	return err
}

// report lists the rules in the order in which a packet meets them.
func (i installation) report() []RuleReport {
	var all []RuleReport
	add := func(table string, rules []rule.Listed, keep func(rule.Listed) bool) {
		for before, l := range rules {
			if keep(l) {
				all = append(all, RuleReport{
					Family: i.family, Backend: i.backend, Table: table, Chain: l.Chain, Number: before + 1,
					Packets: l.Packets, Bytes: l.Bytes, Rule: l.Raw,
				})
			}
		}
	}
	for _, table := range []string{tableNAT, tableFilter, tableMangle} {
		add(table, i.state.builtin[table], func(l rule.Listed) bool { return leadsToOurs(l, table) })
		for _, id := range ourChains() {
			if id.table == table {
				add(table, i.state.chains[id], func(rule.Listed) bool { return true })
			}
		}
	}
	return all
}

// redirectPorts returns the ports that our rules redirect to.
func (s *state) redirectPorts() []uint16 {
	var ports []uint16
	for _, l := range s.chains[chainID{tableNAT, ChainRedirect}] {
		if l.Rule.ToPort != 0 && !slices.Contains(ports, l.Rule.ToPort) {
			ports = append(ports, l.Rule.ToPort)
		}
	}
	return ports
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) } // Flush reports
	if len(r.Rules) == 0 {
		line("No rules of package redirect stand in this network namespace.")
	} else {
		if r.Asks != nil {
			line("The rules ask for: %s\n", r.Asks)
		}
		for _, d := range r.Differences {
			line("DIFFERENT: %s\n", d)
		}
		line("FAMILY\tBACKEND\tTABLE\tCHAIN\t#\tPACKETS\tBYTES\tRULE")
	}
	for _, l := range r.Rules {
		line("%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s", l.Family, l.Backend, l.Table, l.Chain, l.Number, l.Packets, l.Bytes, l.Rule)
	}
	if len(r.Reach) > 0 {
		line("\nGiven to this pod beside the rules; redirect.Clean undoes it by:")
	}
	for _, text := range r.Reach {
		line("%s", text)
	}
	apps := slices.DeleteFunc(slices.Clone(r.Connections), func(c Connection) bool { return c.Probe })
	if len(apps) == 0 {
		line("\nNo redirected connections.")
	} else {
		line("\nORIGINAL DESTINATION\tSOURCE\tPROXY\tSTATE\tAGE\tTIMEOUT\tSENT\tRECEIVED")
	}
	for _, c := range apps {
		line("%s\t%s\t%s\t%s\t%s\t%ds\t%s\t%s", c.OriginalDestination, c.Source, c.Proxy, c.State, c.age(), c.TimeoutSeconds,
			amount(c.SentBytes, c.SentPackets), amount(c.ReceivedBytes, c.ReceivedPackets))
	}
	if probes := len(r.Connections) - len(apps); probes > 0 {
		line("\nNot shown: %d checks of the redirect itself, by redirect.Verify and the sidecar (Report.Connections has them).", probes)
	}
	if r.ConnectionsPartial {
		line("\nSome connections may be missing: the table changed each time that it was read. Run it again.")
	}
	return out.Flush()
}

// age returns the age for people, or "-" if the kernel does not record it.
func (c Connection) age() string {
	if c.AgeSeconds == nil {
		return "-"
	}
	return strconv.FormatInt(*c.AgeSeconds, 10) + "s"
}

// amount returns bytes for people, or "-" if the kernel does not count them: a connection
// without a packet does not exist.
func amount(bytes, packets uint64) string {
	if packets == 0 {
		return "-"
	}
	return strconv.FormatUint(bytes, 10) + " B"
}
