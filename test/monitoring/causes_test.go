// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// otherPorts are flags of a sidecar beside the pod's own, and otherMetrics is the URL of its
// metrics.
var otherPorts = []string{"--listen-address=127.0.0.1:14101", "--health-address=127.0.0.1:14121", "--admin-address="}

const otherMetrics = "http://127.0.0.1:14121/metrics"

// failByCause starts sidecars that cannot use their server, each for another cause. Their
// metrics have that cause and no other, as the unit tests of the rules assume.
func (r *rig) failByCause(t *testing.T) {
	t.Helper()
	host, _, err := net.SplitHostPort(r.Frontend())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cause, reason string
		flags         []string
	}{
		{"no server listens", "server_unreachable", []string{"--proxy-server=" + net.JoinHostPort(host, "8099")}},
		{"another CA", "tls", []string{"--ca-cert=" + r.Certs.AgentCA}},
		{"another name", "tls", []string{"--server-name=other.seed.lab"}},
		{"the other mode", "protocol", []string{"--mode=http-connect"}},
		{"a port without TLS", "protocol", []string{"--proxy-server=" + net.JoinHostPort(host, "8092")}},
	} {
		flags := append(slices.Clone(otherPorts), tt.flags...)
		sidecar, err := r.StartSidecarIn(r.Pod, r.ProxyClientCommand(flags...))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]bool
		labtest.Eventually(t, limit, "a failed check with "+tt.cause, func(ctx context.Context) error {
			text, err := lab.Get(ctx, r.Pod.HTTP(), otherMetrics)
			if err != nil {
				return err
			}
			metrics := lab.ParseMetrics(text)
			if up := metrics.Sum("proxy_client_server_up"); up != 0 {
				return fmt.Errorf("proxy_client_server_up is %v", up)
			}
			if got = reasonsIn(metrics, "proxy_client_server_failures_total"); len(got) == 0 {
				return fmt.Errorf("no failure is counted yet; the log: %s", sidecar.Log())
			}
			return nil
		})
		sidecar.Kill()
		if diff := cmp.Diff(map[string]bool{tt.reason: true}, got); diff != "" {
			t.Errorf("%s: reasons of failures (-want +got):\n%s\n%s", tt.cause, diff, sidecar.Log())
		}
	}
}

// reasonsIn returns the reasons under which a metric has counted something.
func reasonsIn(metrics lab.Metrics, name string) map[string]bool {
	found := map[string]bool{}
	for series, value := range metrics {
		if bare, labels, _ := strings.Cut(series, "{"); bare == name && value > 0 {
			_, reason, _ := strings.Cut(labels, `reason="`)
			reason, _, _ = strings.Cut(reason, `"`)
			found[reason] = true
		}
	}
	return found
}
