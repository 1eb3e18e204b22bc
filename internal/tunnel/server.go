// SPDX-License-Identifier: Apache-2.0

package tunnel

// The networks of a Server.
const (
	NetworkTCP  = "tcp"
	NetworkUnix = "unix"
)

// Server is one proxy-server.
type Server struct {
	// Name is the server as it was configured: the value of the metric label.
	Name string
	// Network is NetworkTCP or NetworkUnix.
	Network string
	// Address is host:port, or the absolute path of a Unix socket.
	Address string
	// Mode is the protocol to speak to it. It is never auto on a Unix socket.
	Mode Mode
}

// Mode is the protocol that a server's frontend speaks.
type Mode string

// The modes.
const (
	// ModeAuto is the protocol that the server shows: by ALPN, where h2 means ModeGRPC, and
	// by its answers, which tell ModeHTTPConnect from ModeHTTPSProxy.
	ModeAuto Mode = "auto"
	// ModeGRPC is one gRPC stream for each connection.
	ModeGRPC Mode = "grpc"
	// ModeHTTPConnect is one HTTP CONNECT request for each connection.
	ModeHTTPConnect Mode = "http-connect"
	// ModeHTTPSProxy is one HTTP/1.1 CONNECT request for each connection, to a standard
	// proxy with TLS that is no proxy-server of konnectivity.
	ModeHTTPSProxy Mode = "https-proxy"
	// ModeH2Connect is one stream of HTTP/2 CONNECT for each connection, to a standard
	// proxy that is no proxy-server of konnectivity.
	ModeH2Connect Mode = "h2-connect"
)

// Modes returns all modes, in the order of the constants.
func Modes() []Mode {
	return []Mode{ModeAuto, ModeGRPC, ModeHTTPConnect, ModeHTTPSProxy, ModeH2Connect}
}

// TLS names the files for servers on TCP. At start they were readable and fitted each
// other. They may change while the program runs, which then reads them again.
type TLS struct {
	// CAFile has the CA certificates by which servers are verified.
	CAFile string
	// CertFile and KeyFile are the client's. Both are given, or both are empty.
	CertFile, KeyFile string
	// ServerName is the name to ask for and to verify. If it is empty, the name is each
	// server's own host.
	ServerName string
	// ALPN are protocols to offer besides h2 and http/1.1.
	ALPN []string
}

// Enabled reports whether there are files for TLS. It is true if a server is on TCP,
// where plaintext is refused.
func (t TLS) Enabled() bool { return t.CAFile != "" }
