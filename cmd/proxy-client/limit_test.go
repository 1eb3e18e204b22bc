// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

func TestTooFewOpenFilesAreWarnedOfOnce(t *testing.T) {
	grpc, connect, auto := options.Server{Mode: options.ModeGRPC}, options.Server{Mode: options.ModeHTTPConnect}, options.Server{Mode: options.ModeAuto}
	for _, tt := range []struct {
		name    string
		asked   int
		files   uint64
		servers []options.Server
		limit   int
		wanted  float64 // 0: no warning
		says    string
		not     string
	}{
		{"by default", 0, 1024, []options.Server{auto}, 416, 16384, "set --max-connections", ""},
		{"asked for", 500, 1024, []options.Server{auto}, 416, 500, "LimitNOFILE", "set --max-connections"},
		{"mode auto may be gRPC", 500, 1024, []options.Server{grpc, auto}, 416, 500, "--mode=grpc", ""},
		{"HTTP CONNECT is not", 500, 1024, []options.Server{connect}, 416, 500, "LimitNOFILE", "--mode=grpc"},
		{"gRPC needs one file", 500, 1024, []options.Server{grpc, grpc}, 500, 0, "", ""},
		{"enough", 0, 1 << 20, []options.Server{connect}, 16384, 0, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			cfg := &options.ProxyClientConfig{MaxConnections: tt.asked, Servers: tt.servers}
			if got := connectionLimit(cfg, tt.files, slog.New(slog.NewJSONHandler(&log, nil))); got != tt.limit {
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
