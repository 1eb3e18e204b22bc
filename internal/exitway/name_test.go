// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestAnotherName: what is verified is named with its value, also if it is the host of the
// exit, and what to do fits the names in the certificate.
func TestAnotherName(t *testing.T) {
	named := &x509.Certificate{DNSNames: []string{"proxy-exit.shoot-proxy.svc"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7)}}
	for _, tt := range []struct {
		name, server string
		certificate  *x509.Certificate
		err, next    string
	}{
		{
			"a wrong name", "proxy-exit", named,
			"exit 100.104.0.50:9443: its certificate is not for --exit-server-name=proxy-exit, but for proxy-exit.shoot-proxy.svc, 192.0.2.7",
			"write a name in the exit's certificate in place of --exit-server-name=proxy-exit",
		},
		{
			"no name", "", named,
			"exit 100.104.0.50:9443: its certificate is not for the host of --exit=100.104.0.50:9443, but for proxy-exit.shoot-proxy.svc, 192.0.2.7",
			"give a name in the exit's certificate as --exit-server-name: without it the host of --exit=100.104.0.50:9443 is verified",
		},
		{
			"nothing in the certificate", "proxy-exit", &x509.Certificate{},
			"exit 100.104.0.50:9443: its certificate is not for --exit-server-name=proxy-exit, and has no name in it",
			"issue the exit's certificate again, with a name in it (subjectAltName), since a common name does not count",
		},
	} {
		m := &maker{names: options.SettingNames(), tls: tunnel.TLS{ServerName: tt.server}}
		host := tt.server
		if host == "" {
			host, _, _ = net.SplitHostPort("100.104.0.50:9443")
		}
		cause := &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: tt.certificate, Host: host}}
		got := m.notSecured(t.Context(), &exitTunnel{target: "100.104.0.50:9443"}, cause)
		if got.Err.Error() != tt.err || got.Next != tt.next || !errors.As(got, new(x509.HostnameError)) {
			t.Errorf("%s:\ngot  %v\nnext %s\nwant %s\nnext %s", tt.name, got.Err, got.Next, tt.err, tt.next)
		}
	}
}
