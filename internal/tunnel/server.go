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
	// Mode is how to speak to it. It is never auto on a Unix socket.
	Mode Mode
}

// Mode is the protocol that a server's frontend speaks.
type Mode string

// The modes.
const (
	// ModeAuto is what the server negotiates by ALPN: h2 or http/1.1.
	ModeAuto Mode = "auto"
	// ModeGRPC is one gRPC stream for each connection.
	ModeGRPC Mode = "grpc"
	// ModeHTTPConnect is one HTTP CONNECT request for each connection.
	ModeHTTPConnect Mode = "http-connect"
)

// TLS names the files for servers on TCP. They were readable and fitted each
// other at start; they change under a running program, which reads them again.
type TLS struct {
	// CAFile has the CA certificates to verify servers with.
	CAFile string
	// CertFile and KeyFile are the client's, both given or both empty.
	CertFile, KeyFile string
	// ServerName is the name to ask for and to verify, empty for each server's
	// own host.
	ServerName string
	// ALPN are protocols to offer besides h2 and http/1.1.
	ALPN []string
}

// Enabled reports whether there is anything to speak TLS with. It is true
// whenever a server is on TCP: plaintext over TCP is refused.
func (t TLS) Enabled() bool { return t.CAFile != "" }
