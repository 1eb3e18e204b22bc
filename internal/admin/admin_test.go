// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hangGuard = 20 * time.Second

// serve runs a server for the test and returns its base URL.
func serve(t *testing.T, cfg admin.Config) string {
	t.Helper()
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	srv, err := admin.Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server did not end cleanly: %v", err)
		}
	})
	return "http://" + srv.Addr().String()
}

type response struct {
	Status int
	Body   string
}

func request(t *testing.T, method, url string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: hangGuard}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp.StatusCode, string(body)}
}

func TestHealthSaysInOneLineWhatIsMissing(t *testing.T) {
	fails := func(text string) admin.Check { return func() error { return errors.New(text) } }
	holds := func() error { return nil }
	tests := []struct {
		name        string
		live, ready []admin.Check
		livez       response
		readyz      response
	}{
		{
			name:   "nothing holds",
			live:   []admin.Check{fails("not listening")},
			ready:  []admin.Check{fails("not listening"), fails("no proxy-server reachable")},
			livez:  response{503, "not alive: not listening\n"},
			readyz: response{503, "not ready: not listening; no proxy-server reachable\n"},
		},
		{
			name:   "alive, but not ready",
			live:   []admin.Check{holds},
			ready:  []admin.Check{holds, fails("no proxy-server reachable")},
			livez:  response{200, "ok\n"},
			readyz: response{503, "not ready: no proxy-server reachable\n"},
		},
		{
			name:   "ready",
			live:   []admin.Check{holds},
			ready:  []admin.Check{holds, holds},
			livez:  response{200, "ok\n"},
			readyz: response{200, "ok\n"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base := serve(t, admin.Config{Live: tt.live, Ready: tt.ready})
			got := [2]response{request(t, "GET", base+"/livez"), request(t, "GET", base+"/readyz")}
			if diff := cmp.Diff([2]response{tt.livez, tt.readyz}, got); diff != "" {
				t.Errorf("kubelet reads the wrong health (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNotes: what does not keep the sidecar from being ready follows the answer ok, and only
// that.
func TestNotes(t *testing.T) {
	text, ready := "", true
	base := serve(t, admin.Config{
		Ready: []admin.Check{func() error {
			if ready {
				return nil
			}
			return errors.New("draining")
		}},
		Notes: []admin.Note{func() string { return text }},
	})
	expect := func(status int, body string) {
		t.Helper()
		if diff := cmp.Diff(response{status, body}, request(t, "GET", base+"/readyz")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	expect(200, "ok\n")
	text = "no exit answers"
	expect(200, "ok\nno exit answers\n")
	ready = false
	expect(503, "not ready: draining\n")
}

func TestHealthIsAskedAgainAtEachRequest(t *testing.T) {
	var draining atomic.Bool
	base := serve(t, admin.Config{Ready: []admin.Check{func() error {
		if draining.Load() {
			return errors.New("draining")
		}
		return nil
	}}})
	if got := request(t, "GET", base+"/readyz"); got.Status != 200 {
		t.Fatalf("not ready at first: %+v", got)
	}
	draining.Store(true)
	if got, want := request(t, "GET", base+"/readyz"), (response{503, "not ready: draining\n"}); got != want {
		t.Fatalf("a drain does not show: got %+v, want %+v", got, want)
	}
}

func TestOnlyTheThreePathsExist(t *testing.T) {
	base := serve(t, admin.Config{})
	if got, want := request(t, "GET", base+"/"), (response{200, "/livez\n/readyz\n/metrics\n"}); got != want {
		t.Errorf("the list of paths: got %+v, want %+v", got, want)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/profile", "/connections", "/metrics/x", "/healthz"} {
		if got := request(t, "GET", base+path); got.Status != 404 {
			t.Errorf("the whole pod network can read %s: %+v", path, got)
		}
	}
	for _, path := range []string{"/", "/livez", "/readyz", "/metrics"} {
		if got := request(t, "POST", base+path); got.Status != 405 {
			t.Errorf("POST %s was answered with %d, but nothing here takes input", path, got.Status)
		}
	}
}

func TestMetricsHaveRuntimeProcessAndOurs(t *testing.T) {
	registry := admin.NewRegistry()
	ours := prometheus.NewCounter(prometheus.CounterOpts{Name: "proxy_client_example_total", Help: "An example."})
	registry.MustRegister(ours)
	ours.Add(3)
	got := request(t, "GET", serve(t, admin.Config{Metrics: registry})+"/metrics")
	for _, want := range []string{"go_goroutines ", "process_open_fds ", "proxy_client_example_total 3\n"} {
		if !strings.Contains(got.Body, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
}

func TestListenReportsAnAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = admin.Listen(taken.Addr().String(), admin.Config{Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Fatalf("want an error that names the address, got %v", err)
	}
}

func TestRunEndsInSpiteOfAClientThatNeverAsks(t *testing.T) {
	cfg := admin.Config{Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)}
	srv, err := admin.Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	conn, err := net.Dial("tcp", srv.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(hangGuard):
		t.Fatal("a silent client keeps the sidecar from ending")
	}
}
