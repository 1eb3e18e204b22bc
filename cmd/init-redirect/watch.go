// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

// rates are what happened between two dumps.
type rates struct {
	Time time.Time `json:"time"`
	// Seconds is the time since the dump before.
	Seconds float64    `json:"seconds"`
	Rules   []ruleRate `json:"rules"`
	// NewConnections are the redirected connections that the dump before did not have,
	// without checks of the redirect.
	NewConnections []redirect.Connection `json:"newConnections"`
	// Open counts the redirected connections on which data can still flow.
	Open int `json:"open"`
}

// ruleRate is the rate of one rule.
type ruleRate struct {
	redirect.RuleReport
	PacketsPerSecond float64 `json:"packetsPerSecond"`
	BytesPerSecond   float64 `json:"bytesPerSecond"`
}

// watch shows rates until ctx ends. That is how it is stopped, so it is no failure.
func (p *program) watch(ctx context.Context, cfg *options.InitRedirectConfig) error {
	if cfg.Dump.Explain && cfg.Output != options.OutputJSON {
		explained := *cfg
		explained.Dump.Interval = 0
		shown, err := p.look(ctx, &explained)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := shown.writeText(&text); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(p.env.stdout, inCommandWords(text.String())); err != nil {
			return err
		}
	}
	ticks := time.NewTicker(cfg.Dump.Interval)
	defer ticks.Stop()
	var before *redirect.Report
	var at time.Time
	for {
		now, err := redirect.Dump(ctx, p.options)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		read := time.Now()
		if before != nil {
			if err := p.show(cfg, ratesOf(before, now, read, read.Sub(at))); err != nil {
				return err
			}
		}
		before, at = now, read
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// ratesOf compares two dumps.
func ratesOf(before, now *redirect.Report, at time.Time, passed time.Duration) rates {
	r := rates{Time: at, Seconds: passed.Seconds(), Rules: []ruleRate{}, NewConnections: []redirect.Connection{}}
	counted := map[redirect.RuleReport]redirect.RuleReport{}
	for _, l := range before.Rules {
		counted[identity(l)] = l
	}
	for _, l := range now.Rules {
		rate := ruleRate{RuleReport: l}
		// A counter that is smaller than before is one of a new rule in the same place.
		if old, ok := counted[identity(l)]; ok && old.Packets <= l.Packets && old.Bytes <= l.Bytes {
			rate.PacketsPerSecond = float64(l.Packets-old.Packets) / r.Seconds
			rate.BytesPerSecond = float64(l.Bytes-old.Bytes) / r.Seconds
		}
		r.Rules = append(r.Rules, rate)
	}
	type ends struct{ source, destination string }
	known := map[ends]bool{}
	for _, c := range before.Connections {
		known[ends{c.Source.String(), c.OriginalDestination.String()}] = true
	}
	for _, c := range now.Connections {
		if c.Probe {
			continue
		}
		if c.Live() {
			r.Open++
		}
		if !known[ends{c.Source.String(), c.OriginalDestination.String()}] {
			r.NewConnections = append(r.NewConnections, c)
		}
	}
	return r
}

// identity returns a rule without its counters.
func identity(l redirect.RuleReport) redirect.RuleReport {
	l.Packets, l.Bytes = 0, 0
	return l
}

// The sequences that put a terminal's cursor to the top and erase the screen (ECMA-48).
const eraseScreen = "\x1b[H\x1b[2J\x1b[3J"

// show writes one output: over the one before on a terminal, and else behind it.
func (p *program) show(cfg *options.InitRedirectConfig, r rates) error {
	var text bytes.Buffer
	if cfg.Output == options.OutputJSON {
		if err := writeJSON(&text, r, ""); err != nil {
			return err
		}
		_, err := fmt.Fprint(p.env.stdout, text.String())
		return err
	}
	if err := r.writeText(&text); err != nil {
		return err
	}
	erase := ""
	if isTerminal(p.env.stdout) && !cfg.Dump.Explain {
		erase = eraseScreen
	}
	_, err := fmt.Fprint(p.env.stdout, erase+commandline.Printable(text.String()))
	return err
}

// isTerminal reports whether w is a terminal, whose size the kernel knows.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

// maxShown is how many new connections one output lists.
const maxShown = 20

func (r rates) writeText(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) } // Flush reports
	line("%s, in the last %.1f s: %d new redirected connections; %d are open.", r.Time.Format(time.RFC3339), r.Seconds, len(r.NewConnections), r.Open)
	if len(r.Rules) == 0 {
		line("No rules of init-redirect stand in this network namespace.")
	} else {
		line("FAMILY\tBACKEND\tTABLE\tCHAIN\t#\tPACKETS/S\tBYTES/S\tRULE")
	}
	for _, l := range r.Rules {
		line("%s\t%s\t%s\t%s\t%d\t%.1f\t%.0f\t%s", l.Family, l.Backend, l.Table, l.Chain, l.Number, l.PacketsPerSecond, l.BytesPerSecond, l.Rule)
	}
	for i, c := range r.NewConnections {
		if i == maxShown {
			line("and %d more new connections", len(r.NewConnections)-i)
			break
		}
		line("new: %s from %s, %s", c.OriginalDestination, c.Source, c.State)
	}
	line("")
	return out.Flush()
}
