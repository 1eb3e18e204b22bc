// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// The load of BenchmarkRate.
const rate, connections = 500, 10 // admissions a second, and by how many connections they come

// BenchmarkRate sends 500 admissions of Prometheus Operator's pod a second, by TLS, to a
// webhook in a process of its own that has one core. It reports what they waited for
// their answers (the median, over the seconds, of each second's p99), the processor time
// that one took, and the most memory that the process ever had. Seconds of a server that
// does nothing but answer lie in between: what those wait is the machine's and the
// client's.
func BenchmarkRate(b *testing.B) {
	r := startAlone(b)
	body := review(b, creation(b, prometheusPod(b)))
	client := r.client()
	idle := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body) // about as long as our answer
	}))
	defer idle.Close()
	idle.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = connections
	var ours, nothing waits
	before := processorTime(b, r.pid)
	for b.Loop() {
		ours.second(b, func() error { _, err := r.send(client, body); return err })
		nothing.second(b, func() error { return post(idle, body) })
	}
	b.ReportMetric(middle(ours.p50), "p50-ms")
	b.ReportMetric(middle(ours.p99), "p99-ms")
	b.ReportMetric(middle(nothing.p99), "p99-of-nothing-ms")
	b.ReportMetric((processorTime(b, r.pid)-before).Seconds()*1e6/float64(b.N*rate), "cpu-µs/request")
	b.ReportMetric(r.peak(), "MiB-at-most")
}

// waits are what requests waited in each second, in milliseconds.
type waits struct{ p50, p99 []float64 }

// second sends for one second. Each request begins at its own time, whether the others
// are done or not.
func (w *waits) second(b *testing.B, send func() error) {
	var mu sync.Mutex
	var took []float64
	due := make(chan time.Time, rate)
	for i := range rate {
		due <- time.Now().Add(time.Duration(i) * time.Second / rate)
	}
	close(due)
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			for at := range due {
				time.Sleep(time.Until(at))
				if err := send(); err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				took = append(took, float64(time.Since(at).Microseconds())/1000)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if len(took) < rate {
		b.FailNow()
	}
	slices.Sort(took)
	w.p50 = append(w.p50, took[len(took)/2])
	w.p99 = append(w.p99, took[len(took)*99/100])
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func post(server *httptest.Server, body []byte) error {
	resp, err := server.Client().Post(server.URL, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// aloneEnv makes this test binary the webhook of a benchmark: aloneConfig, as JSON.
const aloneEnv = "SHOOT_PROXY_WEBHOOK_ALONE"

type aloneConfig struct{ Cluster, ConfigFile, ListenAddress, HealthAddress, CertDir string }

// serveAlone is the life of that process.
func serveAlone(text string) int {
	var c aloneConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	err := Run(ctx, Config{
		Cluster: &rest.Config{Host: c.Cluster}, ConfigFile: c.ConfigFile, CertDir: c.CertDir,
		ListenAddress: c.ListenAddress, HealthAddress: c.HealthAddress,
		Images: webhook.Images{ProxyClient: "registry.example/proxy-client:v1", InitRedirect: "registry.example/init-redirect:v1"},
		// As expensive as a log that somebody reads.
		Logger: slog.New(slog.NewJSONHandler(io.Discard, nil)),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// standalone is a webhook in a process of its own.
type standalone struct {
	running
	pid int
}

// startAlone returns once it is ready; it ends with b.
func startAlone(b *testing.B) *standalone {
	b.Helper()
	api, cluster := newFakeAPIServer(b)
	api.watches[namespacesPath] = []any{namespaceMetadata("shop", nil)}
	api.watches["/api/v1/nodes"] = []any{nodeObject("a", "v1.34.0")}
	api.objects[configMapPath] = found(shopsConfigMap("1", operatorsFile))
	r := &standalone{running: running{t: b, ca: newAuthority(b), certs: newFolder(b)}}
	r.ca.issue(r.certs, 1, time.Now().Add(time.Hour))
	c := aloneConfig{
		Cluster: cluster.Host, ConfigFile: filepath.Join(b.TempDir(), "config.yaml"), CertDir: r.certs.path,
		ListenAddress: freeAddress(b), HealthAddress: freeAddress(b),
	}
	write(b, c.ConfigFile, operatorsFile)
	text, err := json.Marshal(c)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = hangGuard
	cmd.Env = append(os.Environ(), aloneEnv+"="+string(text), "GOMAXPROCS=1", "GOGC=200") // as in the chart
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := cmd.Wait(); err != nil && b.Context().Err() == nil {
			b.Errorf("the webhook's end: %v", err)
		}
	})
	r.pid, r.url, r.health = cmd.Process.Pid, "https://"+c.ListenAddress+Path, "http://"+c.HealthAddress
	r.eventually("it is ready", func() bool {
		resp, err := http.Get(r.health + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return r
}

var highWater = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// peak is the most memory that it has had, in MiB.
func (r *standalone) peak() float64 {
	r.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.pid))
	if err != nil {
		r.t.Fatal(err)
	}
	match := highWater.FindSubmatch(text)
	if match == nil {
		r.t.Fatalf("no VmHWM in\n%s", text)
	}
	kib, err := strconv.Atoi(string(match[1]))
	if err != nil {
		r.t.Fatal(err)
	}
	return float64(kib) / 1024
}
