// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Result says what became of a client's connection. It is a label of a metric.
type Result string

// The results. Each connection counts once, when it ends.
const (
	ResultServed    Result = "served"    // the client could ask for destinations
	ResultHandshake Result = "handshake" // TLS failed, or took too long
	ResultLimit     Result = "limit"     // too many connections
)

// Results returns all results.
func Results() []Result { return []Result{ResultServed, ResultHandshake, ResultLimit} }

// CloseReason says what ended a stream to a target. It is a label of a metric.
type CloseReason string

// The reasons.
const (
	CloseClean       CloseReason = "closed"         // both sides have ended it
	CloseClientReset CloseReason = "client_reset"   // the client reset its stream
	CloseClientGone  CloseReason = "client_gone"    // the client's connection broke
	CloseTargetReset CloseReason = "target_reset"   // the target reset its connection, or no longer answered
	ClosePolicy      CloseReason = "policy_changed" // a new policy, CA or date does not allow it any more
	CloseDrain       CloseReason = "drained"        // the exit ended first
)

// CloseReasons returns all reasons.
func CloseReasons() []CloseReason {
	return []CloseReason{CloseClean, CloseClientReset, CloseClientGone, CloseTargetReset, ClosePolicy, CloseDrain}
}

// Metrics are the metrics of an exit. No label holds an address, an identity or a message.
// All label values exist from the start, so that rates include the first event.
type Metrics struct {
	connections       map[Result]prometheus.Counter
	connectionsActive prometheus.Gauge
	refused           map[ProxyError]prometheus.Counter
	closes            map[CloseReason]prometheus.Counter
	streamsActive     prometheus.Gauge
	fromClients       prometheus.Counter
	toClients         prometheus.Counter
	dial              prometheus.Histogram
	faults            prometheus.Counter
	policyOK          prometheus.Gauge
	policyReloads     map[string]prometheus.Counter
	certificatesOK    prometheus.Gauge
	certificates      *prometheus.GaugeVec
	limits            *prometheus.GaugeVec
	build             *prometheus.GaugeVec
	usage             atomic.Pointer[usage] // nil before the exit is made
}

// The values of the label result of policy reloads.
const (
	reloadOK     = "ok"
	reloadFailed = "failed"
)

// NewMetrics registers the metrics with reg. It panics if they are already registered.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		reg.MustRegister(v)
		return v
	}
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{label})
		reg.MustRegister(v)
		return v
	}
	bytes := vector("proxy_exit_bytes_total", "Bytes between clients and targets, by direction.", "direction")
	m := &Metrics{
		connections: countersOf(vector("proxy_exit_connections_total", "Connections of clients that ended, by what became of them.", "result"), Results()),
		refused:     countersOf(vector("proxy_exit_refused_total", "Streams that were refused, by the error of Proxy-Status.", "error"), ProxyErrors()),
		closes:      countersOf(vector("proxy_exit_close_total", "Streams to a target that ended, by what ended them.", "reason"), CloseReasons()),
		policyReloads: countersOf(vector("proxy_exit_policy_reloads_total", "Changes of the policy file, by whether the new policy is in use.", "result"),
			[]string{reloadOK, reloadFailed}),
		connectionsActive: gauge("proxy_exit_connections_active", "Connections of clients that are open now, after their handshake."),
		streamsActive:     gauge("proxy_exit_streams_active", "Streams that are open now, those being dialled included."),
		policyOK:          gauge("proxy_exit_policy_ok", "1 if the policy file's content is in use, 0 if it cannot be used and the policy before is."),
		certificatesOK:    gauge("proxy_exit_certificates_ok", "1 if the content of the TLS files is in use, 0 if they have changed and cannot be used."),
		certificates:      gauges("proxy_exit_certificate_expiry_timestamp_seconds", "When the certificate in use expires whose end is the first to matter, by its role.", "role"),
		limits:            gauges("proxy_exit_limit", "The limits in use, by what they bound.", "limit"),
		build:             gauges("proxy_exit_build_info", "The version of the program, always 1.", "version"),
		fromClients:       bytes.WithLabelValues("to_target"),
		toClients:         bytes.WithLabelValues("to_client"),
		dial: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "proxy_exit_dial_duration_seconds", Help: "Time from a request to its target's connection, for dials that succeeded.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5},
		}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{Name: "proxy_exit_protocol_errors_total", Help: "Violations of HTTP/2 by clients, floods included."}),
	}
	reg.MustRegister(m.dial, m.faults)
	m.registerBuffer(reg)
	m.certificatesOK.Set(1)
	return m
}

// registerBuffer registers what is read from usage at each scrape.
func (m *Metrics) registerBuffer(reg prometheus.Registerer) {
	gauge := func(name, help string, read func(*usage) int64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if u := m.usage.Load(); u != nil {
				return float64(read(u))
			}
			return 0
		}))
	}
	gauge("proxy_exit_buffer_bytes", "Bytes of --total-buffer in use: by which windows have grown, and for what clients do not read at once.", func(u *usage) int64 { return u.memory.Used() })
	gauge("proxy_exit_client_buffer_bytes", "The part of proxy_exit_buffer_bytes of the one client that has the most.", (*usage).mostMemory)
}

func countersOf[Label ~string](vec *prometheus.CounterVec, labels []Label) map[Label]prometheus.Counter {
	c := map[Label]prometheus.Counter{}
	for _, l := range labels {
		c[l] = vec.WithLabelValues(string(l))
	}
	return c
}

// SetVersion records the version of the program.
func (m *Metrics) SetVersion(version string) { m.build.WithLabelValues(version).Set(1) }

// SetCertificate records when the certificate in use expires.
func (m *Metrics) SetCertificate(role string, expires time.Time) {
	m.certificates.WithLabelValues(role).Set(float64(expires.Unix()))
}

// SetCertificatesOK records whether the content of the TLS files is in use.
func (m *Metrics) SetCertificatesOK(ok bool) {
	value := 0.0
	if ok {
		value = 1
	}
	m.certificatesOK.Set(value)
}

// setLimits records the limits.
func (m *Metrics) setLimits(l Limits) {
	for name, value := range map[string]int64{
		"connections": int64(l.Connections), "streams": int64(l.Streams), "buffer": l.Buffer,
		"client_connections": int64(l.ClientConnections), "client_streams": int64(l.ClientStreams), "client_buffer": l.Buffer / 2,
	} {
		m.limits.WithLabelValues(name).Set(float64(value))
	}
}

// policyRead records a change of the policy file.
func (m *Metrics) policyRead(ok bool) {
	result, value := reloadFailed, 0.0
	if ok {
		result, value = reloadOK, 1
	}
	m.policyReloads[result].Inc()
	m.policyOK.Set(value)
}
