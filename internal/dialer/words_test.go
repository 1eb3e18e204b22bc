// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// manyNames returns a certificate with 90 long names, none of them the server's, that
// the CA has not signed.
func manyNames(t *testing.T) tls.Certificate {
	t.Helper()
	cert := x509.Certificate{
		Subject: pkix.Name{CommonName: "many"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	for i := range 90 {
		cert.DNSNames = append(cert.DNSNames, fmt.Sprintf("%s%d.example", strings.Repeat("very-long.", 60), i))
	}
	return certtest.SelfSigned(t, cert).TLS()
}

// TestWordsOfCertificates: a certificate with 90 names makes a short error, a short
// log line and a short reason for not being ready.
func TestWordsOfCertificates(t *testing.T) {
	p := newPKI(t)
	p.server = manyNames(t)
	leaf, err := x509.ParseCertificate(p.server.Certificate[0])
	must(t, err)
	p.write(t, "ca.crt", "CERTIFICATE", leaf.Raw) // trusted, so that only its names are wrong
	server := p.serveConnect(t, tunnel.ModeHTTPConnect, func(*tls.Conn) {})
	server.Address = strings.Replace(server.Address, "127.0.0.1", "localhost", 1) // a name to compare with those of the certificate
	d := newDialer(t, p.client(), hang, server)
	var lines bytes.Buffer
	d.log = options.Log{Format: "text"}.Logger(&lines)
	failed := d.endpoint(t).Check(t.Context())
	if failed == nil || failed.Reason != tunnel.ReasonTLS {
		t.Fatalf("the check ended with %v, want %s", failed, tunnel.ReasonTLS)
	}
	if n := len(failed.Error()); n > clip.Sentence+200 {
		t.Errorf("the error has %d bytes", n)
	}
	d.log.Warn("not reachable", "error", failed.Err)
	if n := lines.Len(); n == 0 || n > 2*clip.Value+500 {
		t.Errorf("the log has %d bytes", n)
	}
	said := d.Unreachable().Error()
	if len(said) > 500 {
		t.Errorf("the reason for not being ready has %d bytes", len(said))
	}
	if !strings.Contains(said, "set --server-name to a name in it") {
		t.Errorf("the reason for not being ready has no next step: %s", said)
	}
}
