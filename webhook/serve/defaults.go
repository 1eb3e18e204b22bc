// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/regularfile"
	"github.com/shoot-proxy/proxy-client/webhook"
)

// defaults is the operator's file: the last content that could be used.
type defaults struct {
	path    string
	metrics *Metrics
	log     *slog.Logger

	current  atomic.Pointer[webhook.Config]
	seen     []byte // what was read last, usable or not
	reported string // the problem in the last log line
}

// loadDefaults reads the file. At the start it must be usable.
func loadDefaults(path string, metrics *Metrics, log *slog.Logger) (*defaults, error) {
	d := &defaults{path: path, metrics: metrics, log: log}
	data, err := regularfile.Read(path)
	if err != nil {
		return nil, flagset.UnreadableInPod("--config", path, err)
	}
	config, err := d.parse(data)
	if err != nil {
		return nil, &flagset.UsageError{Problem: err.Error(), Err: err}
	}
	d.seen = data
	d.current.Store(config)
	metrics.config.Set(1)
	return d, nil
}

func (d *defaults) parse(data []byte) (*webhook.Config, error) {
	return webhook.ParseConfig(fmt.Sprintf("--config %q", d.path), data)
}

// get returns the configuration in use.
func (d *defaults) get() *webhook.Config { return d.current.Load() }

// watch reads the file again and again, until ctx ends.
func (d *defaults) watch(ctx context.Context) error {
	poll(ctx, d.refresh)
	return nil
}

// refresh reads the file again. A file that cannot be used changes nothing.
func (d *defaults) refresh(ctx context.Context) {
	data, err := regularfile.Read(d.path)
	if err == nil && d.reported == "" && bytes.Equal(data, d.seen) {
		return
	}
	var config *webhook.Config
	if err == nil {
		config, err = d.parse(data)
	}
	if err != nil {
		d.metrics.config.Set(0)
		if text := err.Error(); text != d.reported {
			d.reported = text
			d.log.ErrorContext(ctx, "the configuration has changed and cannot be used: what was there before stays in use", "error", text)
		}
		return
	}
	d.metrics.config.Set(1)
	d.reported = ""
	if !bytes.Equal(data, d.seen) {
		d.log.InfoContext(ctx, "the configuration has changed and is used from now on", "file", d.path)
	}
	d.seen = data
	d.current.Store(config)
}
