// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/httpserver"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/proxy"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/statusserver"
)

// listenStatus returns the server of the status page, or nil if there is to be none.
//
// The page serves people who look for a fault. Apps need the data path. So an address
// that the user did not choose may be in use: then there is no page, and the log says so.
// An address that the user gave must be free, as the user relies on it.
func listenStatus(address netip.AddrPort, given bool, cfg statusserver.Config) (*statusserver.Server, error) {
	if !address.IsValid() {
		return nil, nil //nolint:nilnil // no page is a valid choice
	}
	server, err := statusserver.Listen(address.String(), cfg)
	switch {
	case err == nil:
		return server, nil
	case given:
		return nil, fmt.Errorf("%w; an empty %s is for no status page", httpserver.CannotListen(options.FlagAdminAddress, address.String(), err), options.FlagAdminAddress)
	}
	cfg.Logger.Error("there is no status page, since its address cannot be listened on; connections are served all the same",
		"address", address.String(), "error", err, "next", "find the process in this pod that has the port, or give another "+options.FlagAdminAddress+", or an empty one for no status page")
	return nil, nil //nolint:nilnil // the sidecar runs without it
}

// runStatus serves the status page until ctx ends. Its failure must not end the data path.
func runStatus(ctx context.Context, page *statusserver.Server, log *slog.Logger) {
	if err := page.Run(ctx); err != nil {
		log.Error("the status page has ended; connections are served all the same", "error", err)
	}
}

// documents is where the documents of the status page come from.
type documents struct {
	version  string
	started  time.Time
	settings []status.Setting
	data     *proxy.Proxy
	way      *way
}

func (d documents) all() statusserver.Documents {
	return statusserver.Documents{
		Instance: rand.Text(),
		Configuration: func() status.Configuration {
			return status.Configuration{Version: d.version, Started: d.started, Settings: d.settings}
		},
		State:       d.state,
		Servers:     d.way.servers.Servers,
		Exits:       d.way.status,
		Connections: d.data.Connections,
		Failures:    d.data.Failures,
		History:     d.data.History,
	}
}

func (d documents) state() status.State {
	s := d.data.Status()
	s.Started = d.started
	s.Servers, s.Certificates, s.Exits = d.way.servers.Servers(), d.way.certificates(), d.way.status()
	return s
}
