// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority issues serving certificates for loopback.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, key: newKey(t), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = sign(t, template, template, &a.key.PublicKey, a.key)
	a.pool.AddCert(a.cert)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// folder is laid out as kubelet lays out a Secret's volume: files are links into a
// folder that is exchanged as a whole.
type folder struct {
	t    testing.TB
	path string
	n    int
}

func newFolder(t testing.TB) *folder { return &folder{t: t, path: t.TempDir()} }

// issue puts a certificate there with a serial number.
func (a *authority) issue(f *folder, serial int64, notAfter time.Time) {
	a.t.Helper()
	key := newKey(a.t)
	cert := sign(a.t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "webhook"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, &key.PublicKey, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	f.replace(map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	})
}

func (f *folder) replace(files map[string][]byte) {
	f.t.Helper()
	f.n++
	version := ".." + time.Unix(int64(f.n), 0).UTC().Format("2006_01_02_15_04_05")
	must := func(err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(f.path, version), 0o700))
	for name, data := range files {
		must(os.WriteFile(filepath.Join(f.path, version, name), data, 0o600))
	}
	must(os.Symlink(version, filepath.Join(f.path, "..data_tmp")))
	must(os.Rename(filepath.Join(f.path, "..data_tmp"), filepath.Join(f.path, "..data")))
	for name := range files {
		if _, err := os.Lstat(filepath.Join(f.path, name)); err != nil {
			must(os.Symlink(filepath.Join("..data", name), filepath.Join(f.path, name)))
		}
	}
	entries, err := os.ReadDir(f.path)
	must(err)
	for _, e := range entries {
		if e.IsDir() && e.Name() != version {
			must(os.RemoveAll(filepath.Join(f.path, e.Name())))
		}
	}
}
