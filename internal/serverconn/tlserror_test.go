// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

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
	}{
		{"another name", verification(x509.HostnameError{Certificate: names, Host: host}), "set --server-name to a name in it"},
		{"another authority", verification(x509.UnknownAuthorityError{Cert: names}), "--ca-cert"},
		{"another time", verification(x509.CertificateInvalidError{Cert: &x509.Certificate{Subject: pkix.Name{CommonName: strings.Repeat("long.", 30)}}, Reason: x509.Expired}), "renew it"},
		{"an alert", alert("tls: certificate required"), "give --client-cert and --client-key"},
		{"a long alert", alert(strings.Repeat("tls: x", 100)), "give --client-cert and --client-key"},
		{"no protocol", alert("tls: " + noApplicationProtocol), "for an http-connect server use --mode=http-connect, or auto"},
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
			if strings.Contains(said, "x509: ") || !errors.Is(got, tt.err) {
				t.Errorf("%s: the library's words, or its error: %s", tt.name, said)
			}
		}
	}
}
