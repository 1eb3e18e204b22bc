// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestCertificatesInUse: people see the certificates for exits too, and which one soon ends.
func TestCertificatesInUse(t *testing.T) {
	p := newPKI(t)
	short := p.ca.Issue(t, x509.Certificate{
		Subject: pkix.Name{CommonName: "short"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(5 * time.Minute),
	})
	must(t, os.WriteFile(p.file("client.key"), short.KeyPEM(t), 0o600))
	must(t, os.WriteFile(p.file("client.crt"), short.CertPEM(), 0o600))
	e := startExit(t, p, nil)
	w := newWay(t, p, newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr}), nil)
	w.filled(t)
	got := map[string]Certificate{}
	all := w.Certificates(time.Now())
	for _, c := range all {
		got[string(c.Role)] = c
	}
	if len(all) != 3 || len(got) != 3 {
		t.Fatalf("%d certificates with the roles of %v, want three", len(all), got)
	}
	if c := got[status.RoleExitCA]; c.File != p.file("ca.crt") || c.Certificate.Subject.CommonName != "exit CA" || c.Problem != "" || c.Exit != "" {
		t.Errorf("the CA is %+v", c)
	}
	if c := got[status.RoleExitClient]; c.File != p.file("client.crt") || c.Certificate.Subject.CommonName != "short" || c.Problem == "" || c.Exit != "" {
		t.Errorf("the client's is %+v", c)
	}
	if c := got[status.RoleExit]; c.File != "" || c.Certificate.Subject.CommonName != "exit" || c.Problem != "" || c.Exit != string(theExit) || c.Seen.IsZero() {
		t.Errorf("the exit's is %+v", c)
	}
}
