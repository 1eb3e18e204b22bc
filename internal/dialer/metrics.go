// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
)

// Metrics are the tunnel's metrics.
type Metrics struct {
	grpc        *grpcmode.Metrics
	serverUp    *prometheus.GaugeVec
	failovers   prometheus.Counter
	certificate *prometheus.GaugeVec // without labels, because a vector is absent until it is set
}

// NewMetrics makes the metrics and registers them with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		grpc: grpcmode.NewMetrics(reg),
		serverUp: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "proxy_client_server_up", Help: "Whether the proxy-server could be reached when last tried (1) or not (0).",
		}, []string{"server"}),
		failovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "proxy_client_failovers_total", Help: "Dials that went on to another proxy-server because one failed before any byte was sent.",
		}),
	}
	m.certificate = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "proxy_client_certificate_expiry_timestamp_seconds",
		Help: "When the client certificate in use expires, or the first certificate of its chain that does, in Unix time. Absent without a client certificate.",
	}, nil)
	reg.MustRegister(m.serverUp, m.failovers, m.certificate)
	return m
}

// certificateExpires records when the client certificate in use expires.
func (m *Metrics) certificateExpires(at time.Time) {
	m.certificate.WithLabelValues().Set(float64(at.Unix()))
}
