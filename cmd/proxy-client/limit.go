// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/proxy"
)

// openFiles returns how many files this process may have open. Go has raised
// the soft limit to the hard one by now.
func openFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64 // the kernel will say so when there are too many
	}
	return limit.Cur
}

// What the process holds beside --total-buffer, in bytes: at rest, and for each open
// connection on which nothing moves (docs/performance.md, measured).
const (
	memoryAtRest               = 24 << 20
	memoryPerConnection        = 11 << 10 // in grpc mode
	memoryPerConnectionConnect = 30 << 10 // in http-connect mode: TLS for each
)

// memoryLimit returns how many bytes the process may use (GOMEMLIMIT), as far as it
// was told.
func memoryLimit() int64 { return debug.SetMemoryLimit(-1) }

// connectionLimit returns how many connections may be open, and warns where the
// descriptors hold that down, or memory what was asked for.
func connectionLimit(cfg *options.ProxyClientConfig, files uint64, memory int64, log *slog.Logger) int {
	return min(limitByFiles(cfg, files, log), limitByMemory(cfg, memory, log))
}

// limitByMemory returns how many connections fit into memory beside --total-buffer.
func limitByMemory(cfg *options.ProxyClientConfig, memory int64, log *slog.Logger) int {
	each := int64(memoryPerConnection)
	if filesPerConnection(cfg.Servers) > 1 {
		each = memoryPerConnectionConnect
	}
	fits := int(min(max(1, (memory-cfg.TotalBuffer-memoryAtRest)/each), math.MaxInt32))
	if cfg.MaxConnections > fits {
		log.Warn("the memory limit allows fewer connections than wanted", "max_connections", fits, "wanted", cfg.MaxConnections, "memory_limit_bytes", memory,
			"next", fmt.Sprintf("raise the container's memory limit, and GOMEMLIMIT with it, by %d KiB for each connection more; or lower --total-buffer", each>>10))
	}
	return fits
}

// limitByFiles returns how many connections fit into the descriptors.
func limitByFiles(cfg *options.ProxyClientConfig, files uint64, log *slog.Logger) int {
	limit, short := proxy.ConnectionLimit(cfg.MaxConnections, files, filesPerConnection(cfg.Servers))
	if !short {
		return limit
	}
	wanted, raise := cfg.MaxConnections, "raise the container's limit of open files (LimitNOFILE of the container runtime, ulimit -Hn)"
	if wanted == 0 {
		wanted, raise = proxy.DefaultMaxConnections, raise+", or set --max-connections to what you need"
	}
	if speaksAuto(cfg.Servers) {
		raise += "; where all servers speak gRPC, --mode=grpc needs half as many"
	}
	log.Warn("the limit of open files allows fewer connections than wanted", "max_connections", limit, "wanted", wanted, "open_files", files, "next", raise)
	return limit
}

// filesPerConnection is how many descriptors one connection takes: the app's,
// and in http-connect mode, or where that may turn out to be the mode, one to
// the proxy-server.
func filesPerConnection(servers []options.Server) int {
	for _, s := range servers {
		if s.Mode != options.ModeGRPC {
			return 2
		}
	}
	return 1
}

func speaksAuto(servers []options.Server) bool {
	for _, s := range servers {
		if s.Mode == options.ModeHTTPConnect {
			return false
		}
	}
	return filesPerConnection(servers) > 1
}
