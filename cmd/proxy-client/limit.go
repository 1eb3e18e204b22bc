// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/proxy"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// openFiles returns how many files this process may have open. Go has already raised the
// soft limit to the hard one.
func openFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64 // then accept reports a lack of files
	}
	return limit.Cur
}

// The memory of the process beside --total-buffer, in bytes: without connections, and for
// each idle connection (docs/performance.md, measured).
const (
	memoryAtRest               = 24 << 20
	memoryPerConnection        = 11 << 10 // in grpc mode, and through exits
	memoryPerConnectionConnect = 30 << 10 // in http-connect and https-proxy mode: TLS for each
)

// memoryLimit returns how many bytes the process may use: GOMEMLIMIT, or math.MaxInt64
// without it.
func memoryLimit() int64 { return debug.SetMemoryLimit(-1) }

// connectionLimit returns how many connections may be open: as many as wanted, or as
// descriptors and memory allow. why says what the number follows from. If they allow fewer
// than wanted, it logs one warning with the limit and with everything that has to be
// raised. If the user gave no limit, it does not warn of too little memory.
func connectionLimit(cfg *options.ProxyClientConfig, files uint64, memory int64, log *slog.Logger) (limit int, why string) {
	wanted := cmp.Or(cfg.MaxConnections, defaults.MaxConnections)
	byFiles, fewFiles := proxy.ConnectionLimit(wanted, files, filesPerConnection(cfg))
	byMemory := limitByMemory(cfg, memory)
	limit = min(byFiles, byMemory)
	switch {
	case limit == wanted && cfg.MaxConnections == 0:
		why = "files and memory allow as many as this program has by default"
	case limit == wanted:
	case byMemory < byFiles:
		why = fmt.Sprintf("as many as fit into GOMEMLIMIT, %s, beside %s", flagset.FormatSize(memory), options.SettingNames().TotalBuffer)
	default:
		why = fmt.Sprintf("as many as the limit of open files allows, %d", files)
	}
	if cfg.MaxConnections == 0 {
		fewFiles = fewFiles && byFiles <= byMemory
	}
	var short, next []string
	about := []any{"max_connections", limit, "wanted", wanted}
	if fewFiles {
		short, next = append(short, "the limit of open files"), append(next, raiseFiles(cfg))
		about = append(about, "open_files", files)
	}
	if cfg.MaxConnections > byMemory {
		short, next = append(short, "the memory limit"), append(next, raiseMemory(cfg))
		about = append(about, "memory_limit_bytes", memory)
	}
	switch len(short) {
	case 1:
		log.Warn(short[0]+" allows fewer connections than wanted", append(about, "next", next[0])...)
	case 2:
		log.Warn(strings.Join(short, " and ")+" allow fewer connections than wanted", append(about, "next", strings.Join(next, "; and "))...)
	}
	return limit, why
}

// limitByMemory returns how many connections fit into memory beside --total-buffer.
func limitByMemory(cfg *options.ProxyClientConfig, memory int64) int {
	return int(min(max(1, (memory-cfg.TotalBuffer-memoryAtRest)/bytesPerConnection(cfg)), math.MaxInt32))
}

func bytesPerConnection(cfg *options.ProxyClientConfig) int64 {
	if filesPerConnection(cfg) > 1 {
		return memoryPerConnectionConnect
	}
	return memoryPerConnection
}

// raiseMemory says what gives room for more connections in memory.
func raiseMemory(cfg *options.ProxyClientConfig) string {
	return fmt.Sprintf("raise the container's memory limit, and GOMEMLIMIT with it, by %d KiB for each connection more, or lower --total-buffer", bytesPerConnection(cfg)>>10)
}

// raiseFiles says how to get more descriptors, or to need fewer.
func raiseFiles(cfg *options.ProxyClientConfig) string {
	raise := "raise the container's limit of open files (LimitNOFILE of the container runtime, ulimit -Hn)"
	if cfg.MaxConnections == 0 {
		raise += ", or set --max-connections to what you need"
	}
	if speaksAuto(cfg) {
		raise += "; where all servers speak gRPC, --mode=grpc needs half as many"
	}
	return raise
}

// filesPerConnection returns how many descriptors one connection takes. One is the app's.
// In http-connect and https-proxy mode, and in auto mode, which may become one of them,
// there is another one to the server. Through exits connections share the tunnels.
func filesPerConnection(cfg *options.ProxyClientConfig) int {
	if cfg.Exits.Enabled() && cfg.Exits.Required {
		return 1
	}
	for _, s := range cfg.Servers {
		if s.Mode != tunnel.ModeGRPC && s.Mode != tunnel.ModeH2Connect {
			return 2
		}
	}
	return 1
}

func speaksAuto(cfg *options.ProxyClientConfig) bool {
	for _, s := range cfg.Servers {
		if s.Mode == tunnel.ModeHTTPConnect || s.Mode == tunnel.ModeHTTPSProxy {
			return false
		}
	}
	return filesPerConnection(cfg) > 1
}
