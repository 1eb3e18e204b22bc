// SPDX-License-Identifier: Apache-2.0

package certtest_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
)

// A pair is what its template says, and is accepted by those that trust its CA alone.
func TestIssue(t *testing.T) {
	notAfter := time.Now().Add(time.Minute).Truncate(time.Second).UTC()
	ca, other := certtest.NewCA(t, "CA"), certtest.NewCA(t, "CA")
	pair := ca.Issue(t, x509.Certificate{
		SerialNumber: big.NewInt(7), NotAfter: notAfter, DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if pair.Cert.SerialNumber.Int64() != 7 || !pair.Cert.NotAfter.Equal(notAfter) || time.Until(pair.Cert.NotBefore) > -time.Minute {
		t.Errorf("the certificate has serial number %s and is valid from %s to %s", pair.Cert.SerialNumber, pair.Cert.NotBefore, pair.Cert.NotAfter)
	}
	if _, err := pair.Cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "localhost"}); err != nil {
		t.Errorf("the CA's pool does not accept what it signed: %v", err)
	}
	if _, err := pair.Cert.Verify(x509.VerifyOptions{Roots: other.Pool(), DNSName: "localhost"}); err == nil {
		t.Error("a CA's pool accepts what another one of the same name signed")
	}
	read, err := tls.X509KeyPair(pair.CertPEM(), pair.KeyPEM(t))
	if err != nil || !bytes.Equal(read.Certificate[0], pair.TLS().Certificate[0]) {
		t.Errorf("its PEM is another pair: %v", err)
	}
}
