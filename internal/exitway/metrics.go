// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Metrics are the metrics of the way through exits. They exist only if there is an exit.
type Metrics struct {
	tunnels        *prometheus.GaugeVec
	failures       *prometheus.CounterVec
	fallback       prometheus.Gauge
	through, plain prometheus.Counter
}

// NewMetrics makes the metrics and registers them with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	dials := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "proxy_client_exit_dials_total",
		Help: "Connections by their way: made through an exit (exit), or dialled without one because none answered (plain).",
	}, []string{"way"})
	m := &Metrics{
		tunnels: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "proxy_client_exit_tunnels", Help: "Tunnels to the exit that take new connections.",
		}, []string{"exit"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "proxy_client_exit_failures_total", Help: "Attempts to make a tunnel to the exit that failed, by reason.",
		}, []string{"exit", "reason"}),
		fallback: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "proxy_client_exit_fallback", Help: "1 while connections go to their targets without an exit, because none answers; 0 otherwise.",
		}),
		through: dials.WithLabelValues("exit"), plain: dials.WithLabelValues("plain"),
	}
	reg.MustRegister(m.tunnels, m.failures, m.fallback, dials)
	return m
}

// addExit makes every series of a configured exit, so that rates include its first failure.
func (m *Metrics) addExit(name string) {
	m.tunnels.WithLabelValues(name).Set(0)
	for _, reason := range tunnel.Reasons() {
		m.failures.WithLabelValues(name, string(reason))
	}
}

// failed counts a failed attempt to make a tunnel.
func (m *Metrics) failed(name string, reason tunnel.Reason) {
	m.failures.WithLabelValues(name, string(reason)).Inc()
}
