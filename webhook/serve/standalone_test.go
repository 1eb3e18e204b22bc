// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// The API server may send requests until the whole cluster has noticed that this
// webhook is not ready. ShutdownDelay is the time for that. Until it is over, the
// process must accept new connections and answer them, after its SIGTERM too. The
// rolling update in test/cluster/e2e cannot prove that, because a fast cluster notices
// before the SIGTERM comes.
func TestNewConnectionsAreServedDuringTheShutdownDelay(t *testing.T) {
	r := startAlone(t, 2*hangGuard) // it is killed long before
	process, err := os.FindProcess(r.pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.eventually("it is not ready", func() bool {
		status, body := r.get("/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "ending")
	})
	for i := range 3 {
		if _, err := r.send(r.client(), review(t, creation(t, labelled()))); err != nil { // each client has its own connection
			t.Errorf("admission %d after SIGTERM, by a new connection: %v", i, err)
		}
	}
	if err := process.Kill(); err != nil {
		t.Error(err)
	}
}

// The clock of the bubble moves only when all goroutines wait.
func TestTheShutdownDelayIsAsLongAsItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{Config: Config{ShutdownDelay: 5 * time.Second}}
		begun := time.Now()
		s.delayShutdown(t.Context())
		if took := time.Since(begun); took != s.ShutdownDelay {
			t.Errorf("the delay takes %v, and not %v", took, s.ShutdownDelay)
		}
		failed, fail := context.WithCancel(t.Context())
		fail()
		begun = time.Now()
		s.delayShutdown(failed)
		if took := time.Since(begun); took != 0 {
			t.Errorf("a webhook that serves no more waits for %v", took)
		}
	})
}

// aloneEnv makes this test binary a webhook in its own process. Its value is
// aloneConfig, as JSON.
const aloneEnv = "SHOOT_PROXY_WEBHOOK_ALONE"

type aloneConfig struct {
	Cluster, ConfigFile, ListenAddress, HealthAddress, CertDir string
	ShutdownDelay                                              time.Duration
}

// serveAlone runs in that process.
func serveAlone(text string) int {
	var c aloneConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	err := Run(ctx, Config{
		Cluster: &rest.Config{Host: c.Cluster}, ConfigFile: c.ConfigFile, CertDir: c.CertDir, ShutdownDelay: c.ShutdownDelay,
		ListenAddress: c.ListenAddress, HealthAddress: c.HealthAddress,
		Images: webhook.Images{ProxyClient: "registry.example/proxy-client:v1", InitRedirect: "registry.example/init-redirect:v1"},
		// As expensive as a real log.
		Logger: slog.New(slog.NewJSONHandler(io.Discard, nil)),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// standalone is a webhook in its own process.
type standalone struct {
	runningWebhook
	pid int
}

// startAlone returns when the webhook is ready. The webhook ends with the test.
func startAlone(t testing.TB, shutdownDelay time.Duration) *standalone {
	t.Helper()
	api, cluster := newFakeAPIServer(t)
	api.watches[namespacesPath] = []any{namespaceMetadata("shop", nil)}
	api.watches["/api/v1/nodes"] = []any{nodeObject("a", "v1.34.0")}
	api.objects[configMapPath] = found(shopsConfigMap("1", operatorsFile))
	r := &standalone{runningWebhook: runningWebhook{t: t, ca: newAuthority(t), certs: newFolder(t)}}
	r.ca.issue(r.certs, 1, time.Now().Add(time.Hour))
	c := aloneConfig{
		Cluster: cluster.Host, ConfigFile: filepath.Join(t.TempDir(), "config.yaml"), CertDir: r.certs.path, ShutdownDelay: shutdownDelay,
		ListenAddress: freeAddress(t), HealthAddress: freeAddress(t),
	}
	write(t, c.ConfigFile, operatorsFile)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = hangGuard
	cmd.Env = append(os.Environ(), aloneEnv+"="+string(text), "GOMAXPROCS=1", "GOGC=200") // as in the chart
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("the webhook's end: %v", err)
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

// peak returns the process's peak memory in MiB.
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
