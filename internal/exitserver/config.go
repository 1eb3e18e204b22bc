// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
)

// Config configures a Server. All fields but EndDelay are required.
type Config struct {
	// Listener accepts the clients' TCP connections. The server closes it.
	Listener net.Listener
	// Certificates returns what the files have: the server's certificate, and the CAs of
	// clients. It is called for each handshake, and at times between.
	Certificates func() (*Certificates, error)
	// ClientCA is the setting of the CAs of clients, for people.
	ClientCA string
	// Policy returns the policy in use.
	Policy func() *exitpolicy.Policy
	// Resolver resolves the names of targets.
	Resolver Resolver
	// OwnPorts are the ports of this process' listeners. A rule has to name the address of
	// such a listener by itself.
	OwnPorts []uint16
	// DialTimeout limits a dial, its lookup and all addresses included.
	DialTimeout time.Duration
	// HandshakeTimeout limits TLS, and the wait for the client's first frames.
	HandshakeTimeout time.Duration
	// EndDelay is how long clients may still connect after the end of Run's context, if there
	// are any. A Service may send them here until it knows that this exit is not ready.
	EndDelay time.Duration
	// DrainTimeout limits how long streams may go on after the end of Run's context. It
	// includes EndDelay.
	DrainTimeout time.Duration
	// RestTimeout is for a stream that both sides have ended before the client's connection
	// has: how long its target may take none of the rest of the upload. Then the target is
	// reset. Other streams are reset with the client's connection.
	RestTimeout time.Duration
	// Limits bound what clients can use.
	Limits Limits
	Logger *slog.Logger
	// Metrics counts what happens.
	Metrics *Metrics

	// stallInterval is set by tests. If it is 0, New sets the real one.
	stallInterval time.Duration
}

// Limits bound what clients can use. All are positive.
type Limits struct {
	// Connections and Streams are for all clients together.
	Connections, Streams int
	// ClientConnections and ClientStreams are for one client.
	ClientConnections, ClientStreams int
	// Buffer is how many bytes windows that have grown, and outputs that clients do not read,
	// may take together. One client takes half of what is free at most.
	Buffer int64
}

// Certificates is what a handshake needs.
type Certificates struct {
	Server  tls.Certificate
	Clients *x509.CertPool
	// Version differs if Clients differs.
	Version int
}

// tlsConfig returns the configuration of one handshake. Sessions are not resumed: a
// client's certificate is verified each time.
func (c *Certificates) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{c.Server},
		ClientCAs:              c.Clients,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true,
		// Without this, crypto/tls begins a connection with small records. They cost a
		// bulk transfer more than they save.
		DynamicRecordSizingDisabled: true,
	}
}
