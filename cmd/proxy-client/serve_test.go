// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/dialer"
	"github.com/shoot-proxy/proxy-client/internal/logtest"
)

// hangGuard ends a test that would otherwise wait for ever. No result depends on it.
const hangGuard = 20 * time.Second

// program is a running sidecar.
type program struct {
	t       *testing.T
	signals chan os.Signal
	code    chan int
	stderr  *logtest.Buffer
	started map[string]any // the log line at its start
}

// start runs the program with a proxy-server at socket. It returns when the program has
// logged that it started.
func start(t *testing.T, socket string, args ...string) *program {
	t.Helper()
	p := &program{t: t, signals: make(chan os.Signal, 2), code: make(chan int, 1), stderr: &logtest.Buffer{}}
	args = append([]string{
		"--shoot-pod-cidr=100.64.0.0/12", "--exclude-cidr=100.64.0.53/32", "--proxy-server=unix://" + socket,
		"--listen-address=" + loopback(), "--health-address=" + loopback(), "--admin-address=" + loopback(), "--log-format=json",
	}, args...)
	go func() {
		p.code <- run(environment{
			args:   args,
			stdout: io.Discard, stderr: p.stderr, signals: p.signals, version: "v1.2.3",
			checkRedirect: notRedirected,
		})
	}()
	p.eventually("it has started", func() bool {
		for line := range strings.Lines(p.stderr.String()) {
			var started map[string]any
			if json.Unmarshal([]byte(line), &started) == nil && started["msg"] == "proxy-client started" {
				p.started = started
			}
		}
		return p.started != nil
	})
	return p
}

func (p *program) eventually(what string, holds func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(hangGuard); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain until %s; stderr:\n%s", what, p.stderr)
		}
	}
}

func (p *program) wantExit(want int) {
	p.t.Helper()
	select {
	case got := <-p.code:
		if got != want {
			p.t.Errorf("exit code %d, want %d; stderr:\n%s", got, want, p.stderr)
		}
	case <-time.After(hangGuard):
		p.t.Fatalf("the program does not end; stderr:\n%s", p.stderr)
	}
}

// get returns status and body of a path on the health address.
func (p *program) get(path string) (int, string) {
	p.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: hangGuard}
	resp, err := client.Get("http://" + p.started["health"].(string) + path)
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

// grpcServer is a server on a Unix socket with the service of a proxy-server. It counts as
// reachable, since no more is needed for that.
func grpcServer(t *testing.T) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "server.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "ProxyService", HandlerType: (*any)(nil)}, struct{}{})
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(ln); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() {
		server.Stop()
		serving.Wait()
	})
	t.Cleanup(stop)
	return socket, stop
}

func TestStartLineSaysWhatRuns(t *testing.T) {
	socket, _ := grpcServer(t)
	p := start(t, socket, "--max-connections=7")
	p.signals <- unix.SIGTERM
	p.wantExit(0)
	got := map[string]any{}
	for _, key := range []string{"level", "version", "servers", "max_connections", "shoot_cidrs", "excluded_cidrs"} {
		got[key] = p.started[key]
	}
	want := map[string]any{
		"level": "INFO", "version": "v1.2.3",
		"servers":         []any{"unix://" + socket + " (grpc)"},
		"max_connections": 7.0,
		"shoot_cidrs":     []any{"100.64.0.0/12"},
		"excluded_cidrs":  []any{"100.64.0.53/32"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("start line (-want +got):\n%s", diff)
	}
}

// A warning names a list of CIDRs of which the exclusions leave nothing.
func TestAnEmptyListIsWarnedOf(t *testing.T) {
	socket, _ := grpcServer(t)
	p := start(t, socket, "--shoot-node-cidr=100.64.0.53/32")
	p.signals <- unix.SIGTERM
	p.wantExit(0)
	for _, want := range []string{`"level":"WARN"`, "--exclude-cidr leaves nothing of --shoot-node-cidr", "leave out --shoot-node-cidr"} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, p.stderr)
		}
	}
	if strings.Contains(p.stderr.String(), "leaves nothing of --shoot-pod-cidr") {
		t.Errorf("the log warns of another list:\n%s", p.stderr)
	}
}

func TestReadinessFollowsTheProxyServer(t *testing.T) {
	p := start(t, filepath.Join(t.TempDir(), "nobody.sock"))
	if status, body := p.get("/livez"); status != 200 {
		t.Errorf("a sidecar whose server is down must not be killed: %d %q", status, body)
	}
	if status, body := p.get("/readyz"); status != 503 || !strings.HasPrefix(body, "not ready: no proxy-server reachable (unix:///") {
		t.Errorf("nobody serves, but /readyz says %d %q", status, body)
	}
	p.signals <- unix.SIGTERM
	p.wantExit(0)

	socket, stop := grpcServer(t)
	p = start(t, socket)
	p.eventually("it is ready", func() bool { status, _ := p.get("/readyz"); return status == 200 })
	stop()
	p.eventually("it is not ready any more", func() bool { status, _ := p.get("/readyz"); return status == 503 })
	p.signals <- unix.SIGINT
	p.wantExit(0)
}

func TestTheSecondSignalEndsAtOnce(t *testing.T) {
	socket, _ := grpcServer(t)
	// It goes on accepting for an hour of drain, so only the second signal ends it.
	p := start(t, socket, "--accept-while-draining", "--drain-timeout=1h")
	p.eventually("it is ready", func() bool { status, _ := p.get("/readyz"); return status == 200 })
	p.signals <- unix.SIGTERM
	p.eventually("it drains", func() bool {
		status, body := p.get("/readyz")
		return status == 503 && body == "not ready: draining\n"
	})
	if status, body := p.get("/livez"); status != 200 {
		t.Errorf("a draining sidecar must not be killed: %d %q", status, body)
	}
	p.signals <- unix.SIGTERM
	p.wantExit(130)
	if strings.Contains(p.stderr.String(), "proxy-client: ") {
		t.Errorf("ending on request is no error:\n%s", p.stderr)
	}
}

func TestASignalDuringTheStartEndsWell(t *testing.T) {
	socket, _ := grpcServer(t)
	signals := make(chan os.Signal, 1)
	signals <- unix.SIGTERM
	var stderr logtest.Buffer
	code := run(environment{
		args: []string{
			"--shoot-pod-cidr=100.64.0.0/12", "--proxy-server=unix://" + socket,
			"--listen-address=" + loopback(), "--health-address=" + loopback(), "--admin-address=" + loopback(),
		},
		stdout: io.Discard, stderr: &stderr, signals: signals,
		checkRedirect: notRedirected,
	})
	if code != 0 {
		t.Errorf("exit code %d, want 0; stderr:\n%s", code, stderr.String())
	}
}

func TestTheSecondSignalEndsWhatHangs(t *testing.T) {
	signals := make(chan os.Signal, 2)
	signals <- unix.SIGTERM
	signals <- unix.SIGTERM
	release := make(chan struct{})
	ended := make(chan struct{})
	err := untilSignalled(signals, nil, slog.New(slog.DiscardHandler), func(ctx context.Context, aborted <-chan struct{}) error {
		defer close(ended)
		<-ctx.Done()
		<-aborted
		<-release
		return nil
	})
	if !errors.Is(err, errAborted) {
		t.Errorf("got %v, want %v", err, errAborted)
	}
	close(release)
	<-ended
}

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{fmt.Errorf("dialer: %w", &dialer.InsideShootError{}), 2},
		{fmt.Errorf("flags: %w", &flagset.UsageError{}), 2},
		{fmt.Errorf("serve: %w", errAborted), 130},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("exit code of %T is %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestMetricsOfAllParts(t *testing.T) {
	socket, _ := grpcServer(t)
	p := start(t, socket)
	_, body := p.get("/metrics")
	for _, want := range []string{
		"proxy_client_connections_active ", `proxy_client_server_up{server="unix://` + socket + `"}`,
		"proxy_client_failovers_total ", "proxy_client_redirect_ok 0", "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	p.signals <- unix.SIGTERM
	p.wantExit(0)
}

// notRedirected replaces the probe. These tests run outside a pod, without a redirect, so a
// real probe would leave the machine.
func notRedirected(context.Context, netip.AddrPort) error { return errors.New("not in a pod") }
