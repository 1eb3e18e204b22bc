// SPDX-License-Identifier: Apache-2.0

// Package certtest makes certificates for tests.
//
// It owns how a key is made and how a certificate is signed and encoded. It writes no
// files, and nothing but tests imports it.
//
//	ca := certtest.NewCA(t, "test CA")
//	server := ca.Issue(t, x509.Certificate{DNSNames: []string{"localhost"}})
//	config := &tls.Config{Certificates: []tls.Certificate{server.TLS()}}
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// validity is how long a certificate is valid before and after now, unless its template
// says otherwise.
const validity = time.Hour

// Pair is a certificate and its key.
type Pair struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// NewCA returns a certificate that may sign others, and nothing else.
func NewCA(t testing.TB, name string) *Pair {
	t.Helper()
	return SelfSigned(t, x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

// SelfSigned returns a certificate that its own key has signed. A template without a
// serial number gets a random one. One without dates is valid from an hour ago until in
// an hour.
func SelfSigned(t testing.TB, template x509.Certificate) *Pair {
	t.Helper()
	key := newKey(t)
	return sign(t, &template, &template, key, key)
}

// Issue returns a certificate that p has signed, with a key of its own. The template is
// read as [SelfSigned] reads it.
func (p *Pair) Issue(t testing.TB, template x509.Certificate) *Pair {
	t.Helper()
	return sign(t, &template, p.Cert, newKey(t), p.Key)
}

// newKey returns a new key on the curve P-256.
func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign returns the certificate of a template for the public half of key.
func sign(t testing.TB, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *Pair {
	t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber, _ = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails since Go 1.24
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-validity)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(validity)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Pair{Cert: cert, Key: key}
}

// Pool returns a pool with the certificate.
func (p *Pair) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Cert)
	return pool
}

// TLS returns the pair as crypto/tls takes it.
func (p *Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
}

// CertPEM returns the certificate as a block of PEM.
func (p *Pair) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Cert.Raw})
}

// KeyPEM returns the key as a block of PEM, encoded by PKCS #8.
func (p *Pair) KeyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
