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
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// handshakeError returns the error of a handshake that ended with err. It tells a refused
// certificate from a broken connection, and says what to do.
func (e *Endpoint) handshakeError(ctx context.Context, name string, err error) *tunnel.Error {
	alert, alerted := RemoteAlert(err)
	begins, plain := notTLS(err)
	switch {
	case ctx.Err() != nil:
		return e.silent(ctx, err)
	case errors.As(err, new(x509.HostnameError)):
		return e.anotherName(name, err)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return e.notSigned(err)
	case isExpired(err):
		return e.notValidNow(err)
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return e.refused(fmt.Errorf("its certificate was not accepted: %w", brief{err}), "have the server's certificate issued again")
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

// silent returns the error of a server that has not answered the handshake when ctx
// ended. Its kernel, or a balancer in front of it, has accepted the TCP connection.
func (e *Endpoint) silent(ctx context.Context, err error) *tunnel.Error {
	is := e.Unreachable(ctx, worded{"it accepts TCP connections, and does not answer the TLS handshake", err})
	if is.Reason == tunnel.ReasonServerUnreachable {
		is.Next = "see whether the proxy-server hangs or is overloaded: its log, its CPU, kubectl get pods"
	}
	return is
}

// notSigned returns the error of a server whose certificate no CA in the bundle has
// signed.
func (e *Endpoint) notSigned(err error) *tunnel.Error {
	if invalid := e.connector.files.CheckCAs(time.Now()); invalid != nil {
		return e.casNotValid(invalid, err)
	}
	unknown, _ := errors.AsType[x509.UnknownAuthorityError](err)
	bundle := setting(e.Names().CACert, e.tls().CAFile)
	return e.refused(worded{fmt.Sprintf("its certificate is not signed by %s: give the CA that has signed it, %q",
		bundle, clip.Text(unknown.Cert.Issuer.String(), clip.Words)), err},
		fmt.Sprintf("write the CA that has signed the server's certificate into the Secret of %s", bundle))
}

// anotherName returns the error of a server whose certificate is not for name.
func (e *Endpoint) anotherName(name string, err error) *tunnel.Error {
	names, given := e.Names(), e.tls().ServerName
	if given == "" {
		return e.refused(fmt.Errorf("its certificate is not for %q: %w; set %s to a name in it", name, brief{err}, names.ServerName),
			fmt.Sprintf("set %s to a name in the certificate, or correct the host in %s", names.ServerName, setting(names.ProxyServer, e.Server.Name)))
	}
	is := setting(names.ServerName, given)
	return e.refused(fmt.Errorf("its certificate is not for %s: write a name in it (%w)", is, brief{err}),
		fmt.Sprintf("write a name in the certificate in place of %s", is))
}

// isExpired reports whether err is of a certificate that has expired or is not valid yet.
func isExpired(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

// casNotValid returns the error of a server whose certificate is not accepted because no CA
// in the bundle is valid now. invalid says why. crypto/x509 may say this by either of two
// errors.
func (e *Endpoint) casNotValid(invalid, err error) *tunnel.Error {
	return e.refused(worded{fmt.Sprintf("its certificate was not accepted: %s", invalid), err},
		fmt.Sprintf("renew the CA in the Secret of %s, or set the clock right if it is wrong", setting(e.Names().CACert, e.tls().CAFile)))
}

// notValidNow returns the error of a server's certificate for which isExpired is true. It
// has the clock's time, because a wrong clock looks the same.
func (e *Endpoint) notValidNow(err error) *tunnel.Error {
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err)
	now := time.Now()
	if cas := e.connector.files.CheckCAs(now); cas != nil {
		return e.casNotValid(cas, err)
	}
	reason, remedy := tlsfiles.Invalidity(invalid.Cert, now)
	if reason == "" { // it has become valid since
		return e.Refused(fmt.Errorf("its certificate was not accepted: %w", brief{err}))
	}
	next := "compare the clocks of this node and of the one that issued the certificate, or wait, or issue it again"
	if now.After(invalid.Cert.NotAfter) {
		next = "renew the server's certificate, and restart the server if it does not read it again"
	}
	return e.refused(worded{fmt.Sprintf("its certificate %q %s, and the clock here says %s: %s",
		clip.Text(invalid.Cert.Subject.String(), clip.Words), reason, now.UTC().Format(time.RFC3339), remedy), err}, next)
}

// Worded returns err, an error of crypto/tls, in words of ours.
func Worded(words string, err error) error { return worded{words, err} }

// Brief returns err, an error of crypto/tls, with a short text.
func Brief(err error) error { return brief{err} }

// worded is an error of crypto/tls in words of our own.
type worded struct {
	words string
	error
}

// Error returns our own words.
func (w worded) Error() string { return w.words }

// Unwrap returns the error of crypto/tls.
func (w worded) Unwrap() error { return w.error }

// brief shortens an error of crypto/tls, whose text may have every name of a certificate.
// What a person can do stands behind it and must not be cut off.
type brief struct{ error }

// Error returns the text of the error without the names of packages.
func (e brief) Error() string {
	said := strings.TrimPrefix(e.error.Error(), "tls: failed to verify certificate: ")
	return clip.Text(strings.TrimPrefix(said, "x509: "), clip.Words)
}

// Unwrap returns the error of crypto/tls.
func (e brief) Unwrap() error { return e.error }

// Refused returns the error of a connection that TLS has ended.
func (e *Endpoint) Refused(err error) *tunnel.Error { return e.refused(err, "") }

// refused is Refused. next says what to do.
func (e *Endpoint) refused(err error, next string) *tunnel.Error {
	if e.Addr.Port() == agentsPort { // agents usually have another CA
		next = e.usePort()
		err = fmt.Errorf("%d is usually the agents' port, and %s: is the port right? (%w)", agentsPort, ServersPort, err)
	}
	return &tunnel.Error{Reason: tunnel.ReasonTLS, Server: e.Server.Name, Err: err, Fault: tunnel.FaultUnusable, Next: next}
}

// usePort says what to do about an address that is not that of a proxy-server's clients.
func (e *Endpoint) usePort() string {
	return fmt.Sprintf("write the port for clients in %s: %s", e.Names().ProxyServer, ServersPort)
}

// noApplicationProtocol is crypto/tls' text for the alert of a server that supports none
// of the offered ALPN protocols (RFC 7301, section 3.2).
const noApplicationProtocol = "no application protocol"

// noProtocol returns the error of a server that speaks none of the offered protocols. err
// is its alert.
func (e *Endpoint) noProtocol(err error) *tunnel.Error {
	switch e.Server.Mode {
	case tunnel.ModeGRPC:
		return e.NoHTTP2(err)
	case tunnel.ModeH2Connect:
		wrong := e.WrongServer(fmt.Errorf("it does not speak HTTP/2 (%w), which %s needs: is the port right?", err, e.ModeSetting()))
		wrong.Next = e.NotAProxy()
		return wrong
	case tunnel.ModeHTTPConnect, tunnel.ModeHTTPSProxy:
		return e.WrongServer(fmt.Errorf("it does not speak HTTP/1.1 (%w): for a gRPC server use %s", err, e.OtherMode(tunnel.ModeGRPC)))
	default:
		return e.WrongServer(fmt.Errorf("it speaks neither HTTP/2 nor HTTP/1.1 (%w): is the port right? %s", err, ServersPort))
	}
}

// notTLS returns the first bytes of an answer that is not TLS. ok is false for any other
// err.
func notTLS(err error) (begins []byte, ok bool) {
	header, ok := errors.AsType[tls.RecordHeaderError](err)
	return header.RecordHeader[:], ok && !isRecord(header.RecordHeader)
}

// isRecord reports whether a header is that of a TLS record (RFC 8446, section 5.1) that
// crypto/tls refuses for its version or length.
func isRecord(header [recordHeader]byte) bool {
	const changeCipherSpec, heartbeat, major = 20, 24, 3
	return header[0] >= changeCipherSpec && header[0] <= heartbeat && header[1] == major
}

// noTLS returns the error of a server that answers without TLS. begins has the first
// bytes of its answer.
func (e *Endpoint) noTLS(begins []byte) *tunnel.Error {
	is := fmt.Sprintf("it does not speak TLS, its answer begins %q", begins)
	switch {
	case string(begins) == "HTTP/":
		is = "it speaks plain HTTP, without TLS"
	case begins[0] == 0 && begins[3] == SettingsFrame && begins[4] == 0:
		is = "it speaks HTTP/2 without TLS"
	}
	wrong := e.WrongServer(fmt.Errorf("%s: is the port right? %s", is, ServersPort))
	wrong.Next = e.usePort()
	return wrong
}

// What crypto/tls says of the alerts with which a server refuses a client certificate
// (RFC 8446, section 6.2). If the server says which CAs it accepts, and our certificate is
// of another, crypto/tls sends none, and the server answers with the first of these.
const (
	certificateRequired = "tls: certificate required"
	unknownAuthority    = "tls: unknown certificate authority"
	expiredCertificate  = "tls: expired certificate"
)

// Alerted returns the error of a server that answered with a TLS alert. With TLS 1.3 a
// server refuses a client certificate only after the client's handshake.
func (e *Endpoint) Alerted(err error) *tunnel.Error {
	alert, _ := RemoteAlert(err)
	short := brief{err}
	certificate := setting(e.Names().ClientCert, e.tls().CertFile)
	issue := fmt.Sprintf("give the sidecar a client certificate that is signed by the CA that the proxy-server has for clients, in place of %s", certificate)
	switch {
	case !e.connector.files.HasClient():
		return e.refused(fmt.Errorf("it refused the TLS connection: %w; no client certificate was given: give %s and %s", short, certificate, e.Names().ClientKey),
			fmt.Sprintf("give %s and %s", certificate, e.Names().ClientKey))
	case alert == certificateRequired, alert == unknownAuthority:
		return e.refused(fmt.Errorf("it refused the TLS connection: %w; %s is not signed by a CA that it has for clients: have it issued by one", short, certificate), issue)
	case alert == expiredCertificate:
		if invalid := e.connector.files.CheckClient(time.Now()); invalid != nil {
			return e.refused(worded{fmt.Sprintf("it refused the client certificate: %s", invalid), err}, fmt.Sprintf("renew %s in its Secret", certificate))
		}
		return e.refused(fmt.Errorf("it refused the TLS connection: %w; by the clock here %s has not expired: set the server's clock right, or this one", short, certificate),
			"compare the clocks of this node and of the server's, and set the wrong one right")
	default:
		return e.refused(fmt.Errorf("it refused the TLS connection: %w; is %s signed by the CA that it trusts?", short, certificate), issue)
	}
}

// RemoteAlert returns the text of a TLS alert from the peer. crypto/tls exports no type
// for it.
func RemoteAlert(err error) (string, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return "", false
	}
	return op.Err.Error(), true
}
