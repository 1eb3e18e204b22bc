// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"crypto/x509"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// Metrics are the webhook's metrics.
type Metrics struct {
	requests *prometheus.CounterVec
	duration prometheus.Histogram
	// certificate is the one in use; nil while there is none.
	certificate atomic.Pointer[x509.Certificate]
	config      prometheus.Gauge
	build       *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them with all values that a label can
// have. So a rate before the first request is zero, and not absent.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoot_proxy_webhook_requests_total",
			Help: "Admission requests, by what was decided (inject, skip, refuse) and why.",
		}, []string{"decision", "reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "shoot_proxy_webhook_request_duration_seconds",
			Help:    "How long admission requests took, from their headers to the decision.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		config: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shoot_proxy_webhook_config_valid",
			Help: "1 where the file of --config is what is used, 0 where it has changed and cannot be.",
		}),
	}
	m.build = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "shoot_proxy_webhook_build_info",
		Help: "Always 1, with the version of the program as a label.",
	}, []string{"version"})
	registry.MustRegister(m.requests, m.duration, m.config, m.build, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shoot_proxy_webhook_certificate_expiry_timestamp_seconds",
		Help: "When the serving certificate expires, in seconds since 1970; 0 while there is none.",
	}, m.ofCertificate(func(c *x509.Certificate) time.Time { return c.NotAfter })), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shoot_proxy_webhook_certificate_not_before_timestamp_seconds",
		Help: "Since when the serving certificate is valid, in seconds since 1970; 0 while there is none.",
	}, m.ofCertificate(func(c *x509.Certificate) time.Time { return c.NotBefore })))
	for _, reason := range webhook.Reasons() {
		for _, decision := range decisions(reason) {
			m.requests.WithLabelValues(decision.String(), string(reason))
		}
	}
	return m
}

// ofCertificate returns the value of a metric: a time of the certificate in use.
func (m *Metrics) ofCertificate(when func(*x509.Certificate) time.Time) func() float64 {
	return func() float64 {
		if c := m.certificate.Load(); c != nil {
			return float64(when(c).Unix())
		}
		return 0
	}
}

// decisions returns the decisions that can have a reason.
func decisions(reason webhook.Reason) []webhook.Decision {
	switch reason {
	case webhook.ReasonInjected, webhook.ReasonUpgraded, webhook.ReasonRestored:
		return []webhook.Decision{webhook.Inject}
	case webhook.ReasonNoLabel, webhook.ReasonDisabled, webhook.ReasonAlreadyInjected, webhook.ReasonConfigDisabled:
		return []webhook.Decision{webhook.Skip}
	case webhook.ReasonBadRequest: // a request about anything except the creation of a pod passes
		return []webhook.Decision{webhook.Skip, webhook.Refuse}
	default:
		return []webhook.Decision{webhook.Refuse}
	}
}

func (h *handler) count(start time.Time, result webhook.Result) {
	h.Metrics.requests.WithLabelValues(result.Decision.String(), string(result.Reason)).Inc()
	h.Metrics.duration.Observe(time.Since(start).Seconds())
}
