// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"log/slog"
	"math"
	"net"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/exitserver"
	"github.com/shoot-proxy/proxy-client/internal/options"
)

// otherFiles is how many files the process needs beside clients' connections and streams:
// listeners, health requests, lookups, handshakes.
const otherFiles = 512

// openFiles returns how many files this process may have open. Go has already raised the
// soft limit to the hard one.
func openFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64 // then accept reports a lack of files
	}
	return limit.Cur
}

// limitsOf returns the limits in effect: as configured, or as many streams as the open
// files allow, of which it warns.
func limitsOf(cfg *options.ProxyExitConfig, files uint64, log *slog.Logger) exitserver.Limits {
	limits := exitserver.Limits{
		Connections: cfg.MaxConnections, ClientConnections: cfg.MaxClientConnections,
		Streams: cfg.MaxStreams, ClientStreams: cfg.MaxClientStreams, Buffer: cfg.TotalBuffer,
	}
	if need := uint64(limits.Streams + limits.Connections + otherFiles); need > files {
		limits.Streams = max(1, int(files)-limits.Connections-otherFiles)
		limits.ClientStreams = min(limits.ClientStreams, limits.Streams)
		log.Warn("the limit of open files allows fewer streams than wanted", "max_streams", limits.Streams, "wanted", cfg.MaxStreams, "open_files", files,
			"next", "raise the container's limit of open files (LimitNOFILE of the container runtime, ulimit -Hn), or lower --max-streams or --max-connections")
	}
	return limits
}

// portOf returns the port of an address that was validated.
func portOf(address string) uint16 {
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.ParseUint(text, 10, 16)
	return uint16(port)
}
