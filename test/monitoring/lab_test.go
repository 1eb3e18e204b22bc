// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// limit bounds a wait that nothing promises an end for.
const limit = 2 * time.Minute

// rig is a lab with the real programs: a pod with redirect and sidecar, and a webhook.
type rig struct {
	*lab.Lab
	sidecar, webhook string // what their /metrics say
}

// newRig starts the programs. The shoot has one family, so that no series depends on the
// other.
func newRig(t *testing.T) *rig {
	t.Helper()
	opts := lab.Options{ShootFamilies: lab.IPv4, Exits: 1}
	if err := opts.CheckProduct(); err != nil {
		t.Fatal(err)
	}
	r := &rig{}
	r.Lab, _ = labtest.New(t, opts)
	ctx := labtest.Context(t, limit)
	if _, err := r.InitRedirect(ctx, "apply"); err != nil {
		t.Fatal(err)
	}
	// In the clock of speedUp this is as long as the default.
	if _, err := r.StartProxyClient(ctx, "--dial-timeout=1s", "--log-level=error"); err != nil {
		t.Fatal(err)
	}
	r.startWebhook(t)
	return r
}

// webhookMetrics is the address of the webhook's /metrics.
const webhookMetrics = "127.0.0.1:8081"

// startWebhook starts the webhook in the pod. There is no API server, so it is not ready,
// and has its metrics all the same.
func (r *rig) startWebhook(t *testing.T) {
	t.Helper()
	bin, _, err := lab.FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"tls.crt":    readFile(t, r.Certs.ServerCert),
		"tls.key":    readFile(t, r.Certs.ServerKey),
		"kubeconfig": `{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c"}}], "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := filepath.Abs("../../deploy/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Pod.Start("webhook", lab.Command{Path: filepath.Join(bin, "webhook"), Args: []string{
		"serve", "--config=" + config, "--cert-dir=" + dir, "--kubeconfig=" + filepath.Join(dir, "kubeconfig"),
		"--listen-address=127.0.0.1:9443", "--health-address=" + webhookMetrics,
	}}); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// read reads /metrics of both programs.
func (r *rig) read(t *testing.T) {
	t.Helper()
	labtest.Eventually(t, limit, "the metrics of both programs", func(ctx context.Context) (err error) {
		if r.sidecar, err = lab.Get(ctx, r.Pod.HTTP(), r.SidecarURL("/metrics")); err != nil {
			return err
		}
		if r.webhook, err = lab.Get(ctx, r.Pod.HTTP(), "http://"+webhookMetrics+"/metrics"); err != nil {
			return err
		}
		for _, want := range []string{`role="server"`, `role="client"`, `role="ca"`} {
			if !strings.Contains(r.sidecar, want) {
				return fmt.Errorf("the sidecar has no certificate with %s yet", want)
			}
		}
		if strings.Contains(r.webhook, "certificate_expiry_timestamp_seconds 0\n") {
			return errors.New("the webhook has not read its certificate yet")
		}
		return nil
	})
}

// TestWhatOperatorsSee checks metrics, dashboards and alerts with the real programs and a
// real Prometheus.
func TestWhatOperatorsSee(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.failMany(t)
	r.read(t)
	known := exposed(r.sidecar)
	maps.Copy(known, exposed(r.webhook))
	maps.Copy(known, r.exitMetrics(t))

	for program, text := range map[string]string{"proxy-client": r.sidecar, "webhook": r.webhook} {
		if said, err := promtool(t, text, "check", "metrics"); err != nil || said != "" {
			t.Errorf("promtool about the metrics of %s: %v\n%s", program, err, said)
		}
	}
	checkHealthy(t, known)
	r.failByCause(t)
	checkRules(t, known)
	r.alert(t, known)
}

// exitMetrics returns the metrics that a sidecar has only with an exit, and the exit's own.
func (r *rig) exitMetrics(t *testing.T) labelsOf {
	t.Helper()
	sidecar, err := r.StartSidecarIn(r.Pod, r.ProxyClientCommand(r.ExitFlags(otherPorts...)...))
	if err != nil {
		t.Fatal(err)
	}
	defer sidecar.Kill()
	var text, own string
	labtest.Eventually(t, limit, "the metrics of a sidecar with an exit, and of the exit", func(ctx context.Context) (err error) {
		if text, err = lab.Get(ctx, r.Pod.HTTP(), otherMetrics); err != nil {
			return err
		}
		own, err = r.Exits[0].MetricsText(ctx)
		return err
	})
	known := labelsOf{}
	for of, m := range map[string]struct{ prefix, text string }{
		"proxy-client with an exit": {"proxy_client_exit_", text}, "proxy-exit": {"proxy_exit_", own},
	} {
		if said, err := promtool(t, m.text, "check", "metrics"); err != nil || said != "" {
			t.Errorf("promtool about the metrics of %s: %v\n%s", of, err, said)
		}
		for name, labels := range exposed(m.text) {
			if strings.HasPrefix(name, m.prefix) {
				known[name] = labels
			}
		}
	}
	return known
}

// checkHealthy: the series of the rules' unit tests are like the real ones.
func checkHealthy(t *testing.T, known labelsOf) {
	t.Helper()
	for name := range healthy() {
		if strings.HasPrefix(name, "proxy_client_") || strings.HasPrefix(name, "proxy_exit_") || strings.HasPrefix(name, "shoot_proxy_webhook_") {
			if err := uses(name).check(known); err != nil {
				t.Errorf("the unit tests of the rules use %s: %v", name, err)
			}
		}
	}
}

// checkRules: each rule names metrics and labels that exist. Those that are not ours are
// from kube-apiserver, kube-state-metrics, and Prometheus itself.
func checkRules(t *testing.T, known labelsOf) {
	t.Helper()
	known = maps.Clone(known)
	known["up"] = map[string]bool{}
	known["apiserver_admission_webhook_rejection_count"] = map[string]bool{"name": true, "error_type": true, "operation": true, "rejection_code": true, "type": true}
	known["kube_pod_labels"] = map[string]bool{"label_shoot_proxy_io_inject": true}
	known["kube_pod_status_phase"] = map[string]bool{"phase": true}
	known["kube_pod_init_container_info"], known["kube_pod_container_info"] = map[string]bool{}, map[string]bool{}
	for _, rule := range rulesOf(t, seedChart) {
		u := uses(rule.Expr)
		if err := u.check(known); err != nil {
			t.Errorf("rule %s%s: %v", rule.Record, rule.Alert, err)
		}
		if rule.Record != "" {
			known[rule.Record] = map[string]bool{"reason": true, "server": true, "role": true} // as the expression leaves
		}
	}
}

// failMany fails thousands of connections to different destinations, and then counts the
// series: none is added by a destination.
func (r *rig) failMany(t *testing.T) {
	t.Helper()
	const few, many = 50, 3000
	host := lab.ShootPod(lab.IPv4, 1)
	port := uint16(20000)
	count := func() int {
		text, err := lab.Get(labtest.Context(t, limit), r.Pod.HTTP(), r.SidecarURL("/metrics"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count("\n"+text, "\n") - strings.Count("\n"+text, "\n#")
	}
	fail := func(n int) {
		for range n {
			r.refused(t, netip.AddrPortFrom(host, port))
			port++
		}
	}
	fail(few)
	before := count()
	fail(many)
	if after := count(); after != before {
		t.Errorf("the sidecar has %d series after %d failed connections to different destinations, and %d after %d", before, few, after, few+many)
	}
	metrics, err := r.SidecarMetrics(labtest.Context(t, limit))
	if err != nil {
		t.Fatal(err)
	}
	if refused := metrics[`proxy_client_dial_failures_total{reason="refused"}`]; refused != few+many {
		t.Errorf("%v connections were refused, and not %d: this is no control of the series", refused, few+many)
	}
}

// refused opens a connection to a port on which nothing listens, and awaits its reset.
func (r *rig) refused(t *testing.T, to netip.AddrPort) {
	t.Helper()
	conn, err := r.Pod.DialContext(labtest.Context(t, limit), "tcp", to.String())
	if err != nil {
		if errors.Is(err, syscall.ECONNRESET) {
			return
		}
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("a connection to %s, where nothing listens, ended with %v", to, err)
	}
}
