// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/webhook"
)

// runningWebhook is a webhook that serves on loopback.
type runningWebhook struct {
	t      testing.TB
	server *server
	ca     *authority
	certs  *folder
	log    *logtest.Buffer
	url    string // for admissions
	health string
	stop   context.CancelFunc
	done   chan error
}

// noWait does not wait.
func noWait(context.Context) {}

// freeAddress returns an address on which no process listens. controller-runtime's
// server does not accept port 0.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a webhook with everything except a cluster.
func start(t testing.TB, sources runningSources, unnoticed func(context.Context)) *runningWebhook {
	t.Helper()
	r := &runningWebhook{t: t, ca: newAuthority(t), certs: newFolder(t), log: &logtest.Buffer{}, done: make(chan error, 1)}
	r.ca.issue(r.certs, 1, time.Now().Add(time.Hour))
	address := freeAddress(t)
	r.url = "https://" + address + Path
	registry := prometheus.NewRegistry()
	s := &server{
		Config: Config{
			ListenAddress: address, HealthAddress: "127.0.0.1:0", CertDir: r.certs.path, Logger: r.log.Logger(slog.LevelDebug),
			Images: webhook.Images{ProxyClient: "registry.example/proxy-client:v1", InitRedirect: "registry.example/init-redirect:v1"},
		},
		metrics: NewMetrics(registry), sources: sources, untilNotReadySeen: unnoticed, connections: 8,
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, operatorsFile)
	var err error
	if s.defaults, err = loadDefaults(file, s.metrics, s.Logger); err != nil {
		t.Fatal(err)
	}
	if s.host, s.port, err = splitAddress("--listen-address", address); err != nil {
		t.Fatal(err)
	}
	s.certs = newCertificates(r.certs.path, s.metrics, s.Logger)
	health, err := s.listenAdmin(registry)
	if err != nil {
		t.Fatal(err)
	}
	r.server, r.health = s, "http://"+health[0].Addr().String()
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { r.done <- s.run(ctx, health) }()
	t.Cleanup(r.stop)
	r.eventually("it serves", func() bool {
		c, err := net.DialTimeout("tcp", address, hangGuard)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	return r
}

func (r *runningWebhook) eventually(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(hangGuard); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain until %s; log:\n%s", what, r.log)
		}
	}
}

// wait waits for the end of the webhook, and returns its error.
func (r *runningWebhook) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(hangGuard):
		r.t.Fatalf("it does not end; log:\n%s", r.log)
		return nil
	}
}

// client returns a client that trusts the webhook's authority. Like kube-apiserver's,
// it uses HTTP/1.1 and keeps its connections.
func (r *runningWebhook) client() *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.ca.pool}, MaxIdleConnsPerHost: 100}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: hangGuard}
}

func (r *runningWebhook) get(path string) (int, string) {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: hangGuard}
	response, err := client.Get(r.health + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// send posts a review, and returns the serial number of the server's certificate.
func (r *runningWebhook) send(client *http.Client, body []byte) (serial string, err error) {
	response, err := client.Post(r.url, "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"allowed":true`)) {
		return "", fmt.Errorf("status %d: %s", response.StatusCode, answer)
	}
	return response.TLS.PeerCertificates[0].SerialNumber.String(), nil
}

// Certificates change under load, and no admission fails.
func TestCertificatesChangeUnderLoad(t *testing.T) {
	r := start(t, plainSources(t), noWait)
	body := review(t, creation(t, labelled()))
	var serial atomic.Value // the latest that new connections have seen
	serial.Store("")
	var sent atomic.Int64
	enough := make(chan struct{})
	var load sync.WaitGroup
	for i := range 4 {
		load.Go(func() {
			client := r.client()
			for n := 0; ; n++ {
				select {
				case <-enough:
					return
				default:
				}
				got, err := r.send(client, body)
				if err != nil {
					t.Errorf("an admission failed: %v", err)
					return
				}
				sent.Add(1)
				if i == 0 {
					serial.Store(got)
				}
				if i == 0 || n%10 == 0 {
					client.CloseIdleConnections() // makes a new handshake
				}
			}
		})
	}
	for n := int64(2); n <= 5; n++ {
		expires := time.Now().Add(time.Duration(n) * time.Hour).Truncate(time.Second)
		r.ca.issue(r.certs, n, expires)
		r.eventually(fmt.Sprintf("certificate %d is in use", n), func() bool { return t.Failed() || serial.Load() == fmt.Sprint(n) })
		if _, metrics := r.get("/metrics"); !strings.Contains(metrics, "expiry_timestamp_seconds "+strconv.FormatFloat(float64(expires.Unix()), 'g', -1, 64)+"\n") && !t.Failed() {
			t.Errorf("the metric should say %v:\n%s", expires.Unix(), metrics)
		}
	}
	before := sent.Load()
	r.certs.replace(map[string][]byte{"tls.crt": []byte("no"), "tls.key": []byte("certificate")})
	r.eventually("the bad certificate was looked at", func() bool {
		return t.Failed() || sent.Load() > before+20
	})
	if status, body := r.get("/readyz"); status != 200 {
		t.Errorf("a bad certificate takes the good one: %d %s", status, body)
	}
	close(enough)
	load.Wait()
	r.stop()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// Requests that came before the end are answered. Until the cluster has noticed the
// end, later requests are answered too.
func TestTheEndLosesNothing(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	sources := plainSources(t)
	fast := sources.namespace
	sources.namespace = func(name string) (webhook.Namespace, error) {
		if name == "slow" {
			close(asked)
			<-release
		}
		return fast(name)
	}
	noticed := make(chan struct{})
	r := start(t, sources, func(context.Context) { <-noticed })
	if status, body := r.get("/readyz"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	slow := creation(t, labelled())
	slow.Namespace = "slow"
	client := r.client()
	answered := make(chan error, 1)
	go func() {
		_, err := r.send(client, review(t, slow))
		answered <- err
	}()
	<-asked
	r.stop()
	r.eventually("it is not ready", func() bool {
		status, body := r.get("/readyz")
		return status == 503 && strings.Contains(body, "ending")
	})
	if status, _ := r.get("/livez"); status != 200 {
		t.Error("who ends should not be killed")
	}
	if _, err := r.send(r.client(), review(t, creation(t, labelled()))); err != nil {
		t.Errorf("an admission after the end has begun: %v", err)
	}
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("an admission from before: %v", err)
	}
	close(noticed)
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// A request that is being answered when the listener closes is completed.
func TestTheListenersEndWaitsForAnswers(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	sources := plainSources(t)
	fast := sources.namespace
	sources.namespace = func(name string) (webhook.Namespace, error) {
		close(asked)
		<-release
		return fast(name)
	}
	r := start(t, sources, noWait)
	client := r.client()
	answered := make(chan error, 1)
	go func() {
		_, err := r.send(client, review(t, creation(t, labelled())))
		answered <- err
	}()
	<-asked
	r.stop()
	r.eventually("nobody listens", func() bool {
		c, err := net.DialTimeout("tcp", strings.TrimSuffix(strings.TrimPrefix(r.url, "https://"), Path), hangGuard)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-r.done:
		t.Errorf("it has ended before it has answered: %v", err)
	default:
	}
	close(release)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// If the listener fails, the webhook ends at once.
func TestAnAddressInUse(t *testing.T) {
	r := start(t, plainSources(t), noWait)
	s := r.server
	other := &server{Config: s.Config, host: s.host, port: s.port, metrics: NewMetrics(prometheus.NewRegistry()), defaults: s.defaults, sources: plainSources(t)}
	other.untilNotReadySeen = func(ctx context.Context) { <-ctx.Done() }
	other.certs = newCertificates(r.certs.path, other.metrics, s.Logger)
	done := make(chan error, 1)
	go func() { done <- other.run(t.Context(), nil) }()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("got %v", err)
		}
	case <-time.After(hangGuard):
		t.Error("it waits")
	}
	r.stop()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

func TestBadAddresses(t *testing.T) {
	for _, value := range []string{"", "9443", ":", ":x", ":0", ":65536", ":-1", "1.2.3.4", "::1:9443", "a:b:c"} {
		if _, _, err := splitAddress("--listen-address", value); !flagset.IsUsage(err) {
			t.Errorf("%q: %v", value, err)
		}
	}
	if host, port, err := splitAddress("--listen-address", "[::1]:9443"); host != "::1" || port != 9443 || err != nil {
		t.Errorf("%q, %d, %v", host, port, err)
	}
}
