// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// A series that appears with its first event hides that event from rate().
func TestEverySeriesExistsFromTheStart(t *testing.T) {
	registry := prometheus.NewRegistry()
	NewMetrics(registry)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		var values []string
		label := ""
		for _, m := range family.Metric {
			for _, l := range m.Label {
				label = l.GetName()
				values = append(values, l.GetValue())
			}
		}
		got = append(got, strings.TrimSpace(fmt.Sprint(family.GetName(), " ", label, " ", strings.Join(values, " "))))
	}
	want := []string{
		"proxy_client_buffer_limit_bytes",
		"proxy_client_buffered_bytes",
		"proxy_client_bytes_total direction to_app to_target",
		"proxy_client_close_total reason app_closed app_reset drain half_close_unsupported idle protocol slow_reader target_closed target_reset tunnel_broken",
		"proxy_client_connections_active",
		"proxy_client_connections_limit",
		"proxy_client_connections_total result cancelled failed probe refused relayed",
		"proxy_client_dial_duration_seconds",
		"proxy_client_dial_failures_total reason cancelled exit_unreachable forbidden loop max_connections max_dials no_agent no_port not_redirected other outside_cidrs protocol refused server_unreachable timeout tls unreachable",
		"proxy_client_dials_active",
		"proxy_client_dials_limit",
		"proxy_client_redirect_ok",
		"proxy_client_redirect_success_timestamp_seconds",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dashboards and alerts rely on these series (-want +got):\n%s", diff)
	}
}
