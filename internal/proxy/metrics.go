// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Result says how an accepted connection ended. The set is closed: it is the label of
// proxy_client_connections_total.
type Result string

// The results. Each connection counts once, when it ends.
const (
	ResultRelayed   Result = "relayed"   // a tunnel was made; close_total says how it ended
	ResultFailed    Result = "failed"    // the dial failed
	ResultCancelled Result = "cancelled" // the app or the sidecar ended before the dial
	ResultRefused   Result = "refused"   // refused without a dial
	ResultProbe     Result = "probe"     // a probe of the redirect, answered by the sidecar itself
)

// Results returns all results.
func Results() []Result {
	return []Result{ResultRelayed, ResultFailed, ResultCancelled, ResultRefused, ResultProbe}
}

// The values of bytes_total's label, from the app's view.
const (
	toTarget = "to_target"
	toApp    = "to_app"
)

// Metrics are the metrics of the data path. No label holds an address or a message. All
// label values exist from the start, so that rates include the first event.
type Metrics struct {
	connections counters[Result]
	active      prometheus.Gauge
	sent        prometheus.Counter
	received    prometheus.Counter
	dial        prometheus.Histogram
	failures    counters[tunnel.Reason]
	closes      counters[relay.CloseReason]
	redirectOK  prometheus.Gauge
	redirectAt  prometheus.Gauge
	build       *prometheus.GaugeVec
	limits      limits

	buffers atomic.Pointer[relay.Buffers]
	dials   atomic.Pointer[dialLimit]
}

// limits are the configured limits, in effect since the start. Alerts compare them with
// what is used.
type limits struct{ connections, dials, buffer prometheus.Gauge }

// counters are the counters of a vector with one label, by its values. The values are a
// closed set, so that no connection needs a lookup in the vector.
type counters[Label ~string] map[Label]prometheus.Counter

func countersOf[Label ~string](vec *prometheus.CounterVec, labels []Label) counters[Label] {
	c := counters[Label]{}
	for _, l := range labels {
		c[l] = vec.WithLabelValues(string(l))
	}
	return c
}

func (c counters[Label]) inc(l Label) { c[l].Inc() }

// watchBuffers makes buffered_bytes report what b holds.
func (m *Metrics) watchBuffers(b *relay.Buffers) { m.buffers.Store(b) }

// buffered returns the value of buffered_bytes.
func (m *Metrics) buffered() float64 {
	if b := m.buffers.Load(); b != nil {
		return float64(b.Held())
	}
	return 0
}

// watchDials makes dials_active report the dials in flight of d.
func (m *Metrics) watchDials(d *dialLimit) { m.dials.Store(d) }

// dialsActive returns the value of dials_active.
func (m *Metrics) dialsActive() float64 {
	if d := m.dials.Load(); d != nil {
		return float64(d.active())
	}
	return 0
}

// setLimits records the limits of cfg.
func (m *Metrics) setLimits(cfg Config) {
	m.limits.connections.Set(float64(cfg.MaxConnections))
	m.limits.dials.Set(float64(cfg.MaxDials))
	if cfg.Quota != nil {
		m.limits.buffer.Set(float64(cfg.Quota.Limit()))
	}
}

// redirectVerified records a round of probes after which every probe's last result is a
// success.
func (m *Metrics) redirectVerified() {
	m.redirectOK.Set(1)
	m.redirectAt.SetToCurrentTime()
}

// SetVersion records the version of the program.
func (m *Metrics) SetVersion(version string) { m.build.WithLabelValues(version).Set(1) }

// NewMetrics registers the metrics with reg. It panics if they are already registered.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "proxy_client_bytes_total",
		Help: "Bytes relayed, by direction.",
	}, []string{"direction"})
	connections := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "proxy_client_connections_total",
		Help: "Connections that ended, by what became of them.",
	}, []string{"result"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "proxy_client_dial_failures_total",
		Help: "Connections that could not be made, or were refused without a dial, by reason.",
	}, []string{"reason"})
	closes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "proxy_client_close_total",
		Help: "Relayed connections that ended, by what ended them.",
	}, []string{"reason"})
	m := &Metrics{
		connections: countersOf(connections, Results()),
		failures:    countersOf(failures, Reasons()),
		closes:      countersOf(closes, relay.CloseReasons()),
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "proxy_client_connections_active",
			Help: "Connections that are open now, those being dialled included.",
		}),
		sent:     bytes.WithLabelValues(toTarget),
		received: bytes.WithLabelValues(toApp),
		dial: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "proxy_client_dial_duration_seconds",
			Help:    "Time from accepting a connection to its tunnel, for dials that succeeded.",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8, 15},
		}),
		redirectOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "proxy_client_redirect_ok",
			Help: "1 where the last probe of the redirect came back to the sidecar in every IP family of the shoot, 0 otherwise.",
		}),
	}
	m.redirectAt = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "proxy_client_redirect_success_timestamp_seconds",
		Help: "When the redirect was last found to work everywhere, in Unix time; 0 before the first time.",
	})
	m.build = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "proxy_client_build_info",
		Help: "Always 1, with the version of the program as a label.",
	}, []string{"version"})
	m.limits = limits{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "proxy_client_connections_limit",
			Help: "How many connections may be open at most; further ones are reset.",
		}),
		dials: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "proxy_client_dials_limit",
			Help: "How many dials may be in flight at most; further ones wait.",
		}),
		buffer: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "proxy_client_buffer_limit_bytes",
			Help: "How many bytes may be held at most for all apps and targets.",
		}),
	}
	dialsActive := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "proxy_client_dials_active",
		Help: "Dials that are in flight now, without those that wait for a place.",
	}, m.dialsActive)
	buffered := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "proxy_client_buffered_bytes",
		Help: "Bytes held now for apps and targets, as the limit for all of them counts.",
	}, m.buffered)
	reg.MustRegister(connections, m.active, bytes, buffered, m.dial, failures, closes, m.redirectOK, m.redirectAt,
		m.build, dialsActive, m.limits.connections, m.limits.dials, m.limits.buffer)
	return m
}
