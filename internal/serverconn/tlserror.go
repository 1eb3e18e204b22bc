// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// handshakeError tells a refused certificate from a broken connection, and adds
// what to do about it.
func (e *Endpoint) handshakeError(ctx context.Context, name string, err error) *tunnel.Error {
	alert, alerted := RemoteAlert(err)
	begins, plain := notTLS(err)
	switch {
	case ctx.Err() != nil:
		return e.Unreachable(ctx, fmt.Errorf("TLS handshake: %w", err))
	case errors.As(err, new(x509.HostnameError)):
		return e.Refused(fmt.Errorf("its certificate is not for %q: %w; set %s to a name in it", name, brief{err}, e.Names().ServerName))
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return e.Refused(fmt.Errorf("its certificate is not signed by %s: %w", e.Names().CACert, brief{err}))
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return e.Refused(fmt.Errorf("its certificate was not accepted: %w", brief{err}))
	case alerted && strings.Contains(alert, noApplicationProtocol):
		return e.noProtocol(brief{err})
	case alerted:
		return e.Alerted(err)
	case plain:
		return e.noTLS(begins)
	default:
		return e.Unreachable(ctx, fmt.Errorf("TLS handshake: %w", err))
	}
}

// brief is an error of crypto/tls in few words: its own may hold each name of a
// certificate, and what is to be done stands behind them.
type brief struct{ error }

// Error returns what the library says of the matter, without the names of its packages.
func (e brief) Error() string {
	said := strings.TrimPrefix(e.error.Error(), "tls: failed to verify certificate: ")
	return clip.Text(strings.TrimPrefix(said, "x509: "), clip.Words)
}

// Unwrap returns the error of crypto/tls.
func (e brief) Unwrap() error { return e.error }

// Refused is the error of a connection that fails for TLS' sake.
func (e *Endpoint) Refused(err error) *tunnel.Error {
	if e.Addr.Port() == agentsPort { // where another CA is trusted
		err = fmt.Errorf("%w (%d is usually the agents' port: %s)", err, agentsPort, ServersPort)
	}
	return &tunnel.Error{Reason: tunnel.ReasonTLS, Server: e.Server.Name, Err: err, Fault: tunnel.FaultUnusable}
}

// noApplicationProtocol is how crypto/tls words the alert of a server that
// supports none of the offered ALPN protocols (RFC 7301, section 3.2).
const noApplicationProtocol = "no application protocol"

// noProtocol is the error of a server that speaks none of the protocols that were
// offered, for its alert.
func (e *Endpoint) noProtocol(err error) *tunnel.Error {
	switch e.Server.Mode {
	case tunnel.ModeGRPC:
		return e.NoHTTP2(err)
	case tunnel.ModeHTTPConnect:
		return e.WrongServer(fmt.Errorf("it does not speak HTTP/1.1 (%w): for a gRPC server use %s", err, e.OtherMode(tunnel.ModeGRPC)))
	default:
		return e.WrongServer(fmt.Errorf("it speaks neither HTTP/2 nor HTTP/1.1 (%w): is the port right? %s", err, ServersPort))
	}
}

// notTLS returns how a server's answer begins that is no TLS.
func notTLS(err error) (begins []byte, ok bool) {
	header, ok := errors.AsType[tls.RecordHeaderError](err)
	return header.RecordHeader[:], ok && !isRecord(header.RecordHeader)
}

// isRecord reports whether a record's header is TLS' (RFC 8446, section 5.1), of a
// version or a length that cannot be.
func isRecord(header [recordHeader]byte) bool {
	const changeCipherSpec, heartbeat, major = 20, 24, 3
	return header[0] >= changeCipherSpec && header[0] <= heartbeat && header[1] == major
}

// noTLS is the error of a server that answers in plain text, for how its answer
// begins.
func (e *Endpoint) noTLS(begins []byte) *tunnel.Error {
	is := fmt.Sprintf("it does not speak TLS, its answer begins %q", begins)
	switch {
	case string(begins) == "HTTP/":
		is = "it speaks plain HTTP, without TLS"
	case begins[0] == 0 && begins[3] == SettingsFrame && begins[4] == 0:
		is = "it speaks HTTP/2 without TLS"
	}
	return e.WrongServer(fmt.Errorf("%s: is the port right? %s", is, ServersPort))
}

// Alerted is the error of a server that answered with a TLS alert. With TLS 1.3
// a client certificate is refused only after the client's handshake.
func (e *Endpoint) Alerted(err error) *tunnel.Error {
	err = brief{err}
	if !e.connector.files.HasClient() {
		return e.Refused(fmt.Errorf("it refused the TLS connection: %w; no client certificate was given: give %s and %s", err, e.Names().ClientCert, e.Names().ClientKey))
	}
	return e.Refused(fmt.Errorf("it refused the TLS connection: %w; is %s signed by the CA that it trusts?", err, e.Names().ClientCert))
}

// RemoteAlert returns the words of a TLS alert from the peer, which crypto/tls
// exports no type for.
func RemoteAlert(err error) (string, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return "", false
	}
	return op.Err.Error(), true
}
