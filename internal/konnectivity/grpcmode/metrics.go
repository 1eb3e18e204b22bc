// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/common/metrics"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Namespace and subsystem of konnectivity-client's own metrics
// (konnectivity-client/pkg/client/metrics). We keep these names so that upstream's
// dashboards and alerts fit.
const (
	upstreamNamespace = "konnectivity_network_proxy"
	upstreamSubsystem = "client"
)

// Metrics are the metrics that konnectivity-client has.
type Metrics struct {
	packets      *prometheus.CounterVec
	streamErrors *prometheus.CounterVec
	dialFailures *prometheus.CounterVec
	connections  *prometheus.GaugeVec
	dataSent     prometheus.Counter // packets{from_client,DATA}, looked up once
	dataReceived prometheus.Counter // packets{to_client,DATA}
}

// NewMetrics makes the metrics and registers them with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		packets:      metrics.MakeStreamPacketsTotalMetric(upstreamNamespace, upstreamSubsystem),
		streamErrors: metrics.MakeStreamErrorsTotalMetric(upstreamNamespace, upstreamSubsystem),
		dialFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: upstreamNamespace, Subsystem: upstreamSubsystem, Name: "dial_failure_total",
			Help: "Number of dial failures observed, by reason in konnectivity-client's words.",
		}, []string{"reason"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: upstreamNamespace, Subsystem: upstreamSubsystem, Name: "client_connections",
			Help: "Number of tunnelled connections in gRPC mode, by status in konnectivity-client's words.",
		}, []string{"status"}),
	}
	m.dataSent = m.packets.WithLabelValues(string(metrics.SegmentFromClient), client.PacketType_DATA.String())
	m.dataReceived = m.packets.WithLabelValues(string(metrics.SegmentToClient), client.PacketType_DATA.String())
	reg.MustRegister(m.packets, m.streamErrors, m.dialFailures, m.connections)
	return m
}

func (m *Metrics) sent(t client.PacketType, err error) {
	if t == client.PacketType_DATA {
		m.dataSent.Inc()
	} else {
		metrics.ObservePacket(m.packets, metrics.SegmentFromClient, t)
	}
	if err != nil {
		metrics.ObserveStreamError(m.streamErrors, metrics.SegmentFromClient, err, t)
	}
}

func (m *Metrics) received(pkt *client.Packet, err error) {
	switch {
	case err != nil:
		metrics.ObserveStreamErrorNoPacket(m.streamErrors, metrics.SegmentToClient, err)
	case pkt.Type == client.PacketType_DATA:
		m.dataReceived.Inc()
	default:
		metrics.ObservePacket(m.packets, metrics.SegmentToClient, known(pkt.Type))
	}
}

// unknownType stands for all packet types that the protocol does not have. A label for
// each type that a server sends would be without bounds.
const unknownType = client.PacketType(-1)

// known returns t, or unknownType.
func known(t client.PacketType) client.PacketType {
	if _, ok := client.PacketType_name[int32(t)]; !ok {
		return unknownType
	}
	return t
}

// Statuses of client_connections.
const (
	statusGone    = ""
	statusCreated = "created"
	statusDialing = "dialing"
	statusOK      = "ok"
	statusClosing = "closing"
)

// moved counts a connection under its new status, and no longer under its old one.
func (m *Metrics) moved(from, to string) {
	if from != statusGone {
		m.connections.WithLabelValues(from).Dec()
	}
	if to != statusGone {
		m.connections.WithLabelValues(to).Inc()
	}
}

// dialFailed counts a failed dial under the reason that konnectivity-client would give.
// opened says whether there was a stream.
func (m *Metrics) dialFailed(err *tunnel.Error, opened bool) {
	reason := "endpoint"
	switch {
	case !opened:
		reason = "streamsetup"
	case errors.Is(err, errDialClosed):
		reason = "dialclosed"
	case errors.Is(err, tunnel.ErrBroken):
		reason = "tunnelclosed"
	case errors.Is(err, konnectivity.ErrGaveUp):
		reason = "context"
	}
	m.dialFailures.WithLabelValues(reason).Inc()
}
