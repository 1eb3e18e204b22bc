// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/statusserver"
)

// ask sends a request to the status page and returns the status and the body.
func (p *program) ask(method, path string, header map[string]string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+p.started["admin"].(string)+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: hangGuard}
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// document reads a document of the status page.
func document[T any](p *program, path string) T {
	p.t.Helper()
	code, body := p.ask(http.MethodGet, path, nil)
	var content T
	if err := json.Unmarshal([]byte(body), &content); code != http.StatusOK || err != nil {
		p.t.Fatalf("GET %s: %d, %v: %s", path, code, err, body)
	}
	return content
}

func TestConfigurationSaysWhereEachValueComesFrom(t *testing.T) {
	flags := options.NewProxyClient()
	fs := pflag.NewFlagSet("proxy-client", pflag.ContinueOnError)
	flags.AddFlags(fs)
	args := []string{"--shoot-pod-cidr=100.64.0.0/12, fd00::/48", "--shoot-pod-cidr=100.80.0.0/16", "--proxy-server=unix:///run/s", "--mode=auto"}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	variables := flagset.Variables{"PROXY_CLIENT_DIAL_TIMEOUT=3s", "PROXY_CLIENT_MODE=grpc"}
	if err := flagset.ApplyEnvironment(fs, options.ProxyClientPrefix, variables.Lookup); err != nil {
		t.Fatal(err)
	}
	cfg, err := flags.Config()
	if err != nil {
		t.Fatal(err)
	}
	settings := effective(settingsOf(fs, flags.Names()), cfg, 416, "as many as the limit of open files allows, 1024")
	if len(settings) != len(flags.Names()) {
		t.Errorf("%d of %d flags are shown", len(settings), len(flags.Names()))
	}
	got := map[string]status.Setting{}
	for _, s := range settings {
		got[s.Flag] = s
	}
	for _, want := range []status.Setting{
		{Flag: "--shoot-pod-cidr", Values: []string{"100.64.0.0/12", "fd00::/48", "100.80.0.0/16"}, Source: "flag"},
		{Flag: "--dial-timeout", Values: []string{"3s"}, Source: "environment", Variable: "PROXY_CLIENT_DIAL_TIMEOUT"},
		{Flag: "--half-close-timeout", Values: []string{"1m"}, Source: "default"},
		{Flag: "--mode", Values: []string{"auto"}, Source: "flag", Effective: "grpc", Why: "over a Unix socket auto means grpc"},
		{Flag: "--max-connections", Values: []string{}, Source: "default", Effective: "416", Why: "as many as the limit of open files allows, 1024"},
		{Flag: "--listen-address", Values: []string{}, Source: "default", Effective: "127.0.0.1:14001,[::1]:14001", Why: "the loopback address of each family that has a shoot CIDR"},
		{Flag: "--ca-cert", Values: []string{}, Source: "default"},
	} {
		if diff := cmp.Diff(want, got[want.Flag]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Flag, diff)
		}
	}
}

func TestTheStatusPageOfARunningSidecar(t *testing.T) {
	socket, _ := grpcServer(t)
	p := start(t, socket, "--max-connections=7")
	configuration, state := document[status.Configuration](p, "/configuration"), document[status.State](p, "/state")
	if configuration.Instance == "" || configuration.Instance != state.Instance || configuration.Version != "v1.2.3" {
		t.Errorf("the documents are of instance %q of version %q, and of instance %q", configuration.Instance, configuration.Version, state.Instance)
	}
	if state.Phase != status.PhaseListening || state.MaxConnections != 7 || state.MaxDials != 256 || state.TotalBuffer != 256<<20 {
		t.Errorf("the state is %+v", state)
	}
	if code, body := p.ask(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil); code != http.StatusOK || !strings.Contains(body, "goroutine profile") {
		t.Errorf("there is no profile of goroutines: %d %s", code, body)
	}

	p.drainByPage()
	p.wantExit(0)
	if !strings.Contains(p.stderr.String(), "the status page was asked to drain") {
		t.Errorf("the log does not say why it ended:\n%s", p.stderr)
	}
}

// drainByPage does what the button of the page does.
func (p *program) drainByPage() {
	p.t.Helper()
	_, page := p.ask(http.MethodGet, "/", nil)
	token := regexp.MustCompile(`name="drain-token" content="(\w+)"`).FindStringSubmatch(page)
	if token == nil {
		p.t.Fatalf("the page has no token:\n%s", page)
	}
	code, body := p.ask(http.MethodPost, "/drain", map[string]string{"Content-Type": "application/json", "X-Drain-Token": token[1]})
	if code != http.StatusAccepted {
		p.t.Fatalf("the drain was answered with %d %s", code, body)
	}
}

// TestTheEndOfTheStatusPageIsNoEnd: a listener that fails costs the page and nothing else.
func TestTheEndOfTheStatusPageIsNoEnd(t *testing.T) {
	var log logtest.Buffer
	cfg := statusserver.Config{Logger: slog.New(slog.NewJSONHandler(&log, nil))}
	page, err := statusserver.Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := page.Close(); err != nil {
		t.Fatal(err)
	}
	runStatus(t.Context(), page, cfg.Logger)
	if !strings.Contains(log.String(), "the status page has ended") {
		t.Errorf("the log does not say that it has ended: %s", &log)
	}
}

// A process that has the default port must not keep apps from the shoot.
func TestAnAddressInUseThatNobodyChoseIsNoReasonToEnd(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := netip.MustParseAddrPort(taken.Addr().String())
	var log logtest.Buffer
	cfg := statusserver.Config{Logger: slog.New(slog.NewJSONHandler(&log, nil))}
	if server, err := listenStatus(address, false, cfg); server != nil || err != nil {
		t.Errorf("got %v and %v", server, err)
	}
	for _, want := range []string{`"level":"ERROR"`, "no status page", taken.Addr().String(), "address already in use", "--admin-address"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s: %s", want, &log)
		}
	}
	if _, err := listenStatus(address, true, cfg); err == nil {
		t.Error("the user relies on an address that nothing listens on")
	}
	if server, err := listenStatus(netip.AddrPort{}, true, cfg); server != nil || err != nil {
		t.Errorf("no status page was wanted, got %v and %v", server, err)
	}
}
