// SPDX-License-Identifier: Apache-2.0

// Package defaults has the values that hold if a user gives no other: ports, the uid of
// proxy-client, limits and timeouts. It owns these numbers and nothing else. The flags,
// the webhook, the lab and the test of the documents read them here.
package defaults

import "time"

// Ports of proxy-client. They keep clear of the ports of Istio (15000 to 15090) and
// Linkerd (4140 to 4191).
const (
	// AdminPort is the port of the status page, on loopback.
	AdminPort = 14000
	// ProxyPort is where redirected connections arrive, on loopback.
	ProxyPort = 14001
	// HealthPort is the port of /livez, /readyz and /metrics.
	HealthPort = 14021
)

// ProxyUID is the uid and gid that proxy-client runs as.
const ProxyUID = 14001

// Limits of proxy-client.
const (
	// MaxDials is how many dials may be in flight.
	MaxDials = 256
	// MaxConnections is how many connections may be open if files and memory allow
	// as many.
	MaxConnections = 16384
	// ConnectionBuffer is how many bytes one connection may hold back.
	ConnectionBuffer = 16 << 20
	// TotalBuffer is how many bytes all connections may hold back together.
	TotalBuffer = 256 << 20
)

// Timeouts of proxy-client.
const (
	// DialTimeout is for one dial, its retries included.
	DialTimeout = 8 * time.Second
	// ServerKeepalive is how long a connection to a server may be idle until TCP
	// keepalive asks.
	ServerKeepalive = 5 * time.Second
	// HalfCloseTimeout is how long nothing may move after the app has finished sending.
	HalfCloseTimeout = 60 * time.Second
	// DrainTimeout is how long open connections may go on after SIGTERM.
	DrainTimeout = 20 * time.Second
)

// Ports of proxy-exit.
const (
	// ExitPort is where clients connect.
	ExitPort = 9443
	// ExitHealthPort is the port of /livez, /readyz and /metrics.
	ExitHealthPort = 9444
)

// Limits of proxy-exit.
const (
	// ExitConnections is how many connections all clients may have.
	ExitConnections = 1024
	// ExitClientConnections is how many connections one client may have.
	ExitClientConnections = 256
	// ExitStreams is how many streams all clients may have.
	ExitStreams = 16384
	// ExitClientStreams is how many streams one client may have.
	ExitClientStreams = 8192
	// ExitBuffer is by how many bytes the windows of all streams may grow.
	ExitBuffer = 64 << 20
)

// ExitDialTimeout is for one dial of proxy-exit, its lookup included. It is less than a
// sidecar's, so that the sidecar hears the reason.
const ExitDialTimeout = 5 * time.Second
