// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

// dumped is what one dump shows.
type dumped struct {
	*redirect.Report
	// Explanation is there with --explain, Path with --to.
	Explanation *redirect.Explanation `json:"explanation,omitempty"`
	Path        *redirect.Path        `json:"path,omitempty"`
}

func (p *program) dump(ctx context.Context) error {
	cfg, err := p.configure(false)
	if err != nil {
		return err
	}
	if cfg.Dump.Interval > 0 {
		return p.watch(ctx, cfg)
	}
	shown, err := p.look(ctx, cfg)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if cfg.Output == options.OutputJSON {
		if err := writeJSON(&text, shown, "  "); err != nil {
			return err
		}
		_, err = fmt.Fprint(p.env.stdout, inCommandWords(text.String()))
		return err
	}
	if err := shown.writeText(&text); err != nil {
		return err
	}
	_, err = fmt.Fprint(p.env.stdout, commandline.Printable(inCommandWords(text.String())))
	return err
}

// writeJSON writes a value, also for people: < and > stay as they are.
func writeJSON(w io.Writer, value any, indent string) error {
	out := json.NewEncoder(w)
	out.SetIndent("", indent)
	out.SetEscapeHTML(false)
	return out.Encode(value)
}

// look reads what the flags ask for.
func (p *program) look(ctx context.Context, cfg *options.InitRedirectConfig) (*dumped, error) {
	var asked *redirect.Config
	if cfg.CIDRs != nil {
		c := config(cfg)
		asked = &c
	}
	shown := &dumped{}
	var err error
	if shown.Report, err = redirect.Dump(ctx, p.options); err != nil {
		return nil, err
	}
	if asked != nil {
		if err := shown.Report.Compare(*asked); err != nil {
			return nil, err
		}
	}
	if cfg.Dump.Explain {
		if shown.Explanation, err = redirect.Explain(ctx, asked, p.options); err != nil {
			return nil, err
		}
	}
	if cfg.Dump.To.IsValid() {
		shown.Path, err = redirect.Follow(ctx, redirect.Traffic{
			To: cfg.Dump.To, From: cfg.Dump.From, Device: cfg.Dump.Device, UID: cfg.Dump.UID, UDP: cfg.Dump.UDP,
		}, p.options)
	}
	if errors.Is(err, redirect.ErrNoWayBack) || errors.Is(err, redirect.ErrNoDevice) {
		return nil, &flagset.UsageError{Flag: "--from", Value: p.flags.From, Problem: err.Error(), Err: err}
	}
	return shown, err
}

// writeText writes the table, or what --explain and --to ask for instead of it.
func (d *dumped) writeText(w io.Writer) error {
	if d.Explanation == nil && d.Path == nil {
		return d.WriteTable(w)
	}
	if d.Explanation != nil {
		if err := d.Explanation.WriteText(w); err != nil {
			return err
		}
	}
	if d.Path == nil {
		return nil
	}
	if d.Explanation != nil {
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	return d.Path.WriteText(w)
}
