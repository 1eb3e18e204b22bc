// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"crypto/x509"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// roleServer is the role of a certificate that a proxy-server has shown. The other roles
// are those of package tlsfiles.
const roleServer tlsfiles.Role = "server"

// Metrics are the tunnel's metrics.
type Metrics struct {
	grpc        *grpcmode.Metrics
	serverUp    *prometheus.GaugeVec
	failures    *prometheus.CounterVec
	failovers   prometheus.Counter
	certificate certificateTimes
}

// certificateTimes are the two ends of the life of each certificate. An alert needs both:
// a week is short for a certificate of a year, and long for one of a day.
type certificateTimes struct{ notBefore, notAfter *prometheus.GaugeVec }

// NewMetrics makes the metrics and registers them with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	labels := []string{"role", "server"}
	m := &Metrics{
		grpc: grpcmode.NewMetrics(reg),
		serverUp: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "proxy_client_server_up", Help: "Whether the proxy-server could be reached when last tried (1) or not (0).",
		}, []string{"server"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "proxy_client_server_failures_total", Help: "Checks of the proxy-server and dials through it that failed because of the server or its agents, by reason.",
		}, []string{"server", "reason"}),
		failovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "proxy_client_failovers_total", Help: "Dials that went on to another proxy-server because one failed before any byte was sent.",
		}),
		certificate: certificateTimes{
			notBefore: prometheus.NewGaugeVec(prometheus.GaugeOpts{
				Name: "proxy_client_certificate_not_before_timestamp_seconds",
				Help: "Since when the certificate is valid whose end the metric of the expiry has, in Unix time.",
			}, labels),
			notAfter: prometheus.NewGaugeVec(prometheus.GaugeOpts{
				Name: "proxy_client_certificate_expiry_timestamp_seconds",
				Help: "When the first certificate expires, in Unix time, by role: of the client's chain, of the CA bundle, or of the chain that the server has shown at the last check.",
			}, labels),
		},
	}
	reg.MustRegister(m.serverUp, m.failures, m.failovers, m.certificate.notBefore, m.certificate.notAfter)
	return m
}

// addServer makes every series of a configured server, so that rates include its first
// failure.
func (m *Metrics) addServer(name string) {
	m.serverUp.WithLabelValues(name).Set(0)
	for _, reason := range tunnel.Reasons() {
		m.failures.WithLabelValues(name, string(reason))
	}
}

// serverFailed counts a failure of a server.
func (m *Metrics) serverFailed(name string, reason tunnel.Reason) {
	m.failures.WithLabelValues(name, string(reason)).Inc()
}

// certificateInUse records the life of a certificate of the TLS files.
func (m *Metrics) certificateInUse(role tlsfiles.Role, c *x509.Certificate) {
	m.certificate.set(role, "", c)
}

// Certificate records the life of a certificate that another package uses. server is the
// name of the peer that has shown it, or empty.
func (m *Metrics) Certificate(role tlsfiles.Role, server string, c *x509.Certificate) {
	m.certificate.set(role, server, c)
}

// serverShowed records the life of a certificate that a server has shown.
func (m *Metrics) serverShowed(name string, c *x509.Certificate) {
	m.certificate.set(roleServer, name, c)
}

// firstToExpire returns the certificate whose end ends the acceptance of verified chains:
// the first to expire of the chain that is valid for the longest. It returns nil if there
// is no chain.
func firstToExpire(chains [][]*x509.Certificate) (last *x509.Certificate) {
	for _, chain := range chains {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if last == nil || first.NotAfter.After(last.NotAfter) {
			last = first
		}
	}
	return last
}

func (t certificateTimes) set(role tlsfiles.Role, server string, c *x509.Certificate) {
	t.notBefore.WithLabelValues(string(role), server).Set(float64(c.NotBefore.Unix()))
	t.notAfter.WithLabelValues(string(role), server).Set(float64(c.NotAfter.Unix()))
}
