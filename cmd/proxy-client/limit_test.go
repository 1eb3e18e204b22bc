// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

func TestTooFewOpenFilesAreWarnedOfOnce(t *testing.T) {
	grpc, connect, auto := tunnel.Server{Mode: tunnel.ModeGRPC}, tunnel.Server{Mode: tunnel.ModeHTTPConnect}, tunnel.Server{Mode: tunnel.ModeAuto}
	exits := []tunnel.HostPort{"exit:9443"}
	for _, tt := range []struct {
		name    string
		asked   int
		files   uint64
		servers []tunnel.Server
		exits   tunnel.Exits
		limit   int
		wanted  float64 // 0: no warning
		says    string
		not     string
	}{
		{"by default", 0, 1024, []tunnel.Server{auto}, tunnel.Exits{}, 416, 16384, "set --max-connections", ""},
		{"asked for", 500, 1024, []tunnel.Server{auto}, tunnel.Exits{}, 416, 500, "LimitNOFILE", "set --max-connections"},
		{"mode auto may be gRPC", 500, 1024, []tunnel.Server{grpc, auto}, tunnel.Exits{}, 416, 500, "--mode=grpc", ""},
		{"HTTP CONNECT is not", 500, 1024, []tunnel.Server{connect}, tunnel.Exits{}, 416, 500, "LimitNOFILE", "--mode=grpc"},
		{"gRPC needs one file", 500, 1024, []tunnel.Server{grpc, grpc}, tunnel.Exits{}, 500, 0, "", ""},
		{"enough", 0, 1 << 20, []tunnel.Server{connect}, tunnel.Exits{}, 16384, 0, "", ""},
		{"a preferred exit leaves the plain way", 500, 1024, []tunnel.Server{connect}, tunnel.Exits{Targets: exits}, 416, 500, "LimitNOFILE", ""},
		{"through a required exit one file is enough", 500, 1024, []tunnel.Server{connect}, tunnel.Exits{Targets: exits, Required: true}, 500, 0, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			cfg := &options.ProxyClientConfig{MaxConnections: tt.asked, Servers: tt.servers, Exits: tt.exits}
			if got, _ := connectionLimit(cfg, tt.files, math.MaxInt64, slog.New(slog.NewJSONHandler(&log, nil))); got != tt.limit {
				t.Errorf("%d connections may be open, want %d", got, tt.limit)
			}
			if tt.wanted == 0 {
				if log.Len() > 0 {
					t.Errorf("nothing is short, but the log warns: %s", &log)
				}
				return
			}
			var line map[string]any
			if err := json.Unmarshal(log.Bytes(), &line); err != nil {
				t.Fatalf("want one line, got %q: %v", log.String(), err)
			}
			next, _ := line["next"].(string)
			if line["level"] != "WARN" || line["wanted"] != tt.wanted || line["open_files"] != float64(tt.files) || !strings.Contains(next, tt.says) {
				t.Errorf("the log does not say what holds the limit down and what to raise: %v", line)
			}
			if tt.not != "" && strings.Contains(next, tt.not) {
				t.Errorf("the log sends the operator the wrong way: %s", next)
			}
		})
	}
}

// The memory of the container is enough for as many connections as may be open, beside
// what apps may hold back.
func TestConnectionsFitTheMemory(t *testing.T) {
	grpc, connect, auto := tunnel.Server{Mode: tunnel.ModeGRPC}, tunnel.Server{Mode: tunnel.ModeHTTPConnect}, tunnel.Server{Mode: tunnel.ModeAuto}
	const files, webhooks = 1 << 20, 460 << 20 // GOMEMLIMIT as the webhook sets it
	for _, tt := range []struct {
		name   string
		asked  int
		memory int64
		server tunnel.Server
		exits  tunnel.Exits
		limit  int
		warns  bool
	}{
		{"no limit", 0, math.MaxInt64, connect, tunnel.Exits{}, 16384, false},
		{"the webhook's, gRPC", 0, webhooks, grpc, tunnel.Exits{}, 16384, false},
		{"the webhook's, HTTP CONNECT", 0, webhooks, connect, tunnel.Exits{}, 6144, false},
		{"the webhook's, a mode that may be either", 0, webhooks, auto, tunnel.Exits{}, 6144, false},
		{"the webhook's, HTTP CONNECT to a required exit", 0, webhooks, connect, tunnel.Exits{Targets: []tunnel.HostPort{"exit:9443"}, Required: true}, 16384, false},
		{"asked for more than fits", 10_000, webhooks, connect, tunnel.Exits{}, 6144, true},
		{"asked for less", 1000, webhooks, connect, tunnel.Exits{}, 1000, false},
		{"hardly any memory", 0, 1 << 20, connect, tunnel.Exits{}, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			cfg := &options.ProxyClientConfig{MaxConnections: tt.asked, TotalBuffer: 256 << 20, Servers: []tunnel.Server{tt.server}, Exits: tt.exits}
			if got, _ := connectionLimit(cfg, files, tt.memory, slog.New(slog.NewJSONHandler(&log, nil))); got != tt.limit {
				t.Errorf("%d connections may be open, want %d", got, tt.limit)
			}
			if warns := strings.Contains(log.String(), "GOMEMLIMIT"); warns != tt.warns || !warns && log.Len() > 0 {
				t.Errorf("the log says %q, want a warning: %t", log.String(), tt.warns)
			}
		})
	}
}

// If descriptors and memory both allow fewer connections than wanted, the log has one
// number: the lower limit.
func TestTheLogHasOneLimitOfConnections(t *testing.T) {
	const memory = 460 << 20 // 6144 connections of http-connect
	for _, tt := range []struct {
		name  string
		asked int
		files uint64
		limit int
		says  []string // if empty, nothing is logged
	}{
		{"both, and memory allows less", 20_000, 16_192, 6144, []string{"open files", "LimitNOFILE", "GOMEMLIMIT", "open_files", "memory_limit_bytes"}},
		{"both, and files allow less", 20_000, 1024, 416, []string{"open files", "LimitNOFILE", "GOMEMLIMIT", "open_files", "memory_limit_bytes"}},
		{"by default, and memory allows less", 0, 16_192, 6144, nil},
		{"by default, and files allow less", 0, 1024, 416, []string{"open files", "LimitNOFILE"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			cfg := &options.ProxyClientConfig{MaxConnections: tt.asked, TotalBuffer: 256 << 20, Servers: []tunnel.Server{{Mode: tunnel.ModeHTTPConnect}}}
			if got, _ := connectionLimit(cfg, tt.files, memory, slog.New(slog.NewJSONHandler(&log, nil))); got != tt.limit {
				t.Errorf("%d connections may be open, want %d", got, tt.limit)
			}
			if tt.says == nil {
				if log.Len() > 0 {
					t.Errorf("the log warns of what is not the reason: %s", &log)
				}
				return
			}
			var line struct {
				Limit int `json:"max_connections"`
			}
			if err := json.Unmarshal(log.Bytes(), &line); err != nil {
				t.Fatalf("want one line, got %q: %v", log.String(), err)
			}
			if line.Limit != tt.limit {
				t.Errorf("the log says that %d may be open, and it is %d", line.Limit, tt.limit)
			}
			for _, want := range tt.says {
				if !strings.Contains(log.String(), want) {
					t.Errorf("the log does not say %s: %s", want, &log)
				}
			}
		})
	}
}
