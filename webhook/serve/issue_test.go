// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
)

// authority issues serving certificates for loopback.
type authority struct {
	t    testing.TB
	ca   *certtest.Pair
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	ca := certtest.NewCA(t, "ca")
	return &authority{t: t, ca: ca, pool: ca.Pool()}
}

// folder has the layout of a Secret's volume, as the kubelet makes it. The files are links
// into a folder that is replaced as a whole.
type folder struct {
	t    testing.TB
	path string
	n    int
}

func newFolder(t testing.TB) *folder { return &folder{t: t, path: t.TempDir()} }

// issue writes a certificate with a serial number to the folder.
func (a *authority) issue(f *folder, serial int64, notAfter time.Time) {
	a.t.Helper()
	pair := a.ca.Issue(a.t, x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "webhook"}, NotAfter: notAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	f.replace(map[string][]byte{"tls.crt": pair.CertPEM(), "tls.key": pair.KeyPEM(a.t)})
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
