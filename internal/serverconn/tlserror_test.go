// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestSilentHandshake: a server whose kernel accepts, and whose process does nothing, is
// named as such. A dial that was given up says nothing of the server.
func TestSilentHandshake(t *testing.T) {
	e := &Endpoint{Server: tunnel.Server{Name: "server:8090", Network: tunnel.NetworkTCP}, connector: &Connector{files: &tlsfiles.Files{}, names: options.SettingNames()}}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	got := e.handshakeError(ctx, "server", ctx.Err())
	if got.Reason != tunnel.ReasonServerUnreachable || got.Err.Error() != "it accepts TCP connections, and does not answer the TLS handshake" ||
		!strings.HasPrefix(got.Next, "see whether the proxy-server hangs") || !errors.Is(got, context.DeadlineExceeded) {
		t.Errorf("%s: %v; what to do: %q", got.Reason, got, got.Next)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if got := e.handshakeError(ctx, "server", ctx.Err()); got.Reason != tunnel.ReasonCancelled || got.Next != "" {
		t.Errorf("given up: %s, what to do: %q", got.Reason, got.Next)
	}
}

// TestHandshakeErrorsKeepTheAdvice: whatever the TLS library says, its text and the
// advice together are no longer than a clause.
func TestHandshakeErrorsKeepTheAdvice(t *testing.T) {
	verification := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	names := &x509.Certificate{}
	for range 90 {
		names.DNSNames = append(names.DNSNames, strings.Repeat("very-long.", 20)+"example")
	}
	const host = "konnectivity-server.shoot--project--name.svc.cluster.local"
	alert := func(text string) error { return &net.OpError{Op: "remote error", Err: errors.New(text)} }
	for _, tt := range []struct {
		name   string
		err    error
		advice string
		next   string
	}{
		{"another name", verification(x509.HostnameError{Certificate: names, Host: host}), "set --server-name to a name in it", "set --server-name to a name in the certificate, or correct the host in --proxy-server=" + host},
		{"another authority", verification(x509.UnknownAuthorityError{Cert: names}), "--ca-cert", "write the CA that has signed the server's certificate into the Secret of --ca-cert"},
		{"another time", verification(x509.CertificateInvalidError{Cert: &x509.Certificate{Subject: pkix.Name{CommonName: strings.Repeat("long.", 30)}}, Reason: x509.Expired}), "renew it", "renew the server's certificate, and restart the server if it does not read it again"},
		{"an alert", alert("tls: certificate required"), "give --client-cert and --client-key", "give --client-cert and --client-key"},
		{"a long alert", alert(strings.Repeat("tls: x", 100)), "give --client-cert and --client-key", "give --client-cert and --client-key"},
		{"no protocol", alert("tls: " + noApplicationProtocol), "for an http-connect server use --mode=http-connect, or auto", "set --mode=http-connect, or auto"},
	} {
		for _, port := range []uint16{8090, agentsPort} {
			e := &Endpoint{
				Server:    tunnel.Server{Name: host, Network: tunnel.NetworkTCP, Mode: tunnel.ModeGRPC},
				Addr:      netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port),
				connector: &Connector{files: &tlsfiles.Files{}, names: options.SettingNames()},
			}
			got := e.handshakeError(t.Context(), host, tt.err)
			said := got.Err.Error()
			if len(said) > clip.Clause || !strings.Contains(said, tt.advice) {
				t.Errorf("%s: %d bytes of %d: %s", tt.name, len(said), clip.Clause, said)
			}
			if port == agentsPort && got.Reason == tunnel.ReasonTLS && !strings.HasPrefix(said, "8091 is usually the agents' port, and "+ServersPort) {
				t.Errorf("%s: it does not tell of the agents' port: %s", tt.name, said)
			}
			next := tt.next
			if port == agentsPort && got.Reason == tunnel.ReasonTLS {
				next = "write the port for clients in --proxy-server: the servers' is usually 8090"
			}
			if got.Next != next {
				t.Errorf("%s, port %d: what to do is %q, want %q", tt.name, port, got.Next, next)
			}
			if strings.Contains(said, "x509: ") || !errors.Is(got, tt.err) {
				t.Errorf("%s: the library's words, or its error: %s", tt.name, said)
			}
		}
	}
}

// TestHandshakeErrorsHaveValues: a setting that a person may have to change is named with its
// value, and all of the advice fits into a clause.
func TestHandshakeErrorsHaveValues(t *testing.T) {
	verification := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	alert := &net.OpError{Op: "remote error", Err: errors.New(certificateRequired)}
	issuer := &x509.Certificate{Issuer: pkix.Name{CommonName: "seed-ca"}, DNSNames: []string{"a.example"}}
	const host = "konnectivity-server.shoot--project--name.svc.cluster.local"
	given := tunnel.TLS{CAFile: "/certs/ca/ca.crt", CertFile: "/certs/client/tls.crt", KeyFile: "/certs/client/tls.key", ServerName: host}
	files := tlsfiles.New(given, options.SettingNames(), slog.New(slog.DiscardHandler), nil)
	for _, tt := range []struct {
		name       string
		err        error
		said, next string
	}{
		{
			"another name", verification(x509.HostnameError{Certificate: issuer, Host: host}),
			"its certificate is not for --server-name=" + host + ": write a name in it (certificate is valid for a.example, not ",
			"write a name in the certificate in place of --server-name=" + host,
		},
		{
			"another authority", verification(x509.UnknownAuthorityError{Cert: issuer}),
			`its certificate is not signed by --ca-cert=/certs/ca/ca.crt: give the CA that has signed it, "CN=seed-ca"`,
			"write the CA that has signed the server's certificate into the Secret of --ca-cert=/certs/ca/ca.crt",
		},
		{
			"a refused client", alert, "--client-cert=/certs/client/tls.crt is not signed by a CA that it has for clients: have it issued by one",
			"give the sidecar a client certificate that is signed by the CA that the proxy-server has for clients, in place of --client-cert=/certs/client/tls.crt",
		},
	} {
		for _, port := range []uint16{8090, agentsPort} {
			e := &Endpoint{
				Server:    tunnel.Server{Name: "server:8090", Network: tunnel.NetworkTCP, Mode: tunnel.ModeGRPC},
				Addr:      netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port),
				connector: &Connector{files: files, names: options.SettingNames()},
			}
			got := e.handshakeError(t.Context(), host, tt.err)
			if said := got.Err.Error(); len(said) > clip.Clause || !strings.Contains(said, tt.said) || !errors.Is(got, tt.err) {
				t.Errorf("%s, port %d: %d bytes: %s", tt.name, port, len(said), said)
			}
			if port != agentsPort && got.Next != tt.next {
				t.Errorf("%s: what to do is %q, want %q", tt.name, got.Next, tt.next)
			}
		}
	}
}
