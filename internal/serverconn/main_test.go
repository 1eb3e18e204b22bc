// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hang bounds waits that end at once if nothing is broken.
const hang = waittest.Limit

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// newCertificate returns a self-signed certificate for localhost, and a pool with it.
func newCertificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	pair := certtest.SelfSigned(t, x509.Certificate{
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	return pair.TLS(), pair.Pool()
}
