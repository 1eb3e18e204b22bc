// SPDX-License-Identifier: Apache-2.0

package tlsfiles_test

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestServerFiles: a server uses new files for the next handshake, and keeps the ones
// before if the new ones cannot be used.
func TestServerFiles(t *testing.T) {
	folder := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca := certtest.NewCA(t, "test CA")
	issue := func() *certtest.Pair { return ca.Issue(t, x509.Certificate{DNSNames: []string{"exit.test"}}) }
	first := issue()
	write("ca", ca.CertPEM())
	write("crt", first.CertPEM())
	write("key", first.KeyPEM(t))
	log, roles := &logtest.Buffer{}, map[tlsfiles.Role]bool{}
	files := tlsfiles.NewServer(
		tunnel.TLS{CAFile: filepath.Join(folder, "ca"), CertFile: filepath.Join(folder, "crt"), KeyFile: filepath.Join(folder, "key")},
		tunnel.SettingNames{CACert: "--client-ca", ClientCert: "--tls-cert", ClientKey: "--tls-key"},
		log.Logger(slog.LevelInfo), func(role tlsfiles.Role, _ *x509.Certificate) { roles[role] = true },
	)
	uses := func(want *certtest.Pair) (version int) {
		t.Helper()
		pair, clients, version, err := files.ServerConfig()
		if err != nil || !bytes.Equal(pair.Certificate[0], want.Cert.Raw) || !clients.Equal(ca.Pool()) {
			t.Fatalf("not the certificate in use that should be: %v", err)
		}
		return version
	}
	before := uses(first)
	if !roles[tlsfiles.RoleServer] || !roles[tlsfiles.RoleCA] || roles[tlsfiles.RoleClient] {
		t.Errorf("the roles are %v", roles)
	}
	second := issue()
	write("crt", second.CertPEM()) // the key is still the one before
	if uses(first) != before || !files.Broken() {
		t.Error("half of a pair is in use, or not reported")
	}
	if !strings.Contains(log.String(), "the ones read before stay in use") || !strings.Contains(log.String(), "--tls-cert") {
		t.Errorf("the log is %s", log)
	}
	write("key", second.KeyPEM(t))
	if uses(second) == before || files.Broken() {
		t.Error("the new pair has no version of its own, or is called broken")
	}
}

// TestCheckServerPair: a client's certificate is none for a server.
func TestCheckServerPair(t *testing.T) {
	ca, now := certtest.NewCA(t, "test CA"), time.Now()
	for usage, want := range map[x509.ExtKeyUsage]string{
		x509.ExtKeyUsageServerAuth: "",
		x509.ExtKeyUsageAny:        "",
		x509.ExtKeyUsageClientAuth: "the certificate is not for servers, and every client would refuse it: have one issued with extended key usage serverAuth",
	} {
		pair := ca.Issue(t, x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{usage}})
		said := ""
		if err := tlsfiles.CheckServerPair(pair.CertPEM(), pair.KeyPEM(t), now); err != nil {
			said = err.Error()
		}
		if said != want {
			t.Errorf("usage %v: got %q, want %q", usage, said, want)
		}
	}
}
