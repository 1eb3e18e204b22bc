// SPDX-License-Identifier: Apache-2.0

package tlsfiles_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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

// TestServerCertificateWithoutName: a server's certificate in which clients find no name is
// used, and each one is warned of once.
func TestServerCertificateWithoutName(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca := certtest.NewCA(t, "test CA")
	use := func(template x509.Certificate) {
		t.Helper()
		template.Subject = pkix.Name{CommonName: "proxy-exit"}
		pair := ca.Issue(t, template)
		write("crt", pair.CertPEM())
		write("key", pair.KeyPEM(t))
	}
	write("ca", ca.CertPEM())
	log := &logtest.Buffer{}
	files := tlsfiles.NewServer(tunnel.TLS{CAFile: "ca", CertFile: "crt", KeyFile: "key"},
		tunnel.SettingNames{CACert: "--client-ca", ClientCert: "--tls-cert", ClientKey: "--tls-key"},
		log.Logger(slog.LevelInfo), func(tlsfiles.Role, *x509.Certificate) {})
	warned := func(want int) {
		t.Helper()
		if _, _, _, err := files.ServerConfig(); err != nil {
			t.Fatal(err)
		}
		lines := log.Lines(t, "the server certificate has no DNS name and no IP address in subjectAltName, and most clients refuse it: have it issued with the name that they verify")
		if len(lines) != want {
			t.Errorf("%d warnings, want %d: %s", len(lines), want, log)
		}
		for _, line := range lines {
			if line["level"] != "WARN" || line["file"] != "crt" || line["subject"] != "CN=proxy-exit" {
				t.Errorf("the warning is %v", line)
			}
		}
	}
	use(x509.Certificate{})
	warned(1) // at the start
	warned(1)
	write("ca", slices.Concat(ca.CertPEM(), certtest.NewCA(t, "next CA").CertPEM()))
	warned(1) // another file has changed
	use(x509.Certificate{DNSNames: []string{"exit.test"}})
	warned(1)
	use(x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "exit"}}})
	warned(2)
	use(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	warned(2)
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

// TestServerKeepsWholeFiles: a server whose files are cut off, damaged or for another use
// keeps the ones before. With a part of the CAs it would turn away the clients of the others.
func TestServerKeepsWholeFiles(t *testing.T) {
	first, second := certtest.NewCA(t, "first CA"), certtest.NewCA(t, "second CA")
	bundle := slices.Concat(first.CertPEM(), second.CertPEM())
	server := first.Issue(t, x509.Certificate{DNSNames: []string{"exit.test"}})
	client := first.Issue(t, x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	damaged := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: second.Cert.Raw[:100]})
	for _, tt := range []struct {
		name string
		file map[string][]byte
		want string // in the log
	}{
		{"a CA that is cut off", map[string][]byte{"ca": bundle[:len(bundle)-40]}, `--client-ca \"ca\": the file has a block that is cut off or damaged: write the file again`},
		{"a first CA without its end", map[string][]byte{"ca": slices.Concat(first.CertPEM()[:200], []byte("\n"), second.CertPEM())}, "cut off or damaged"},
		{"a CA that is damaged", map[string][]byte{"ca": slices.Concat(first.CertPEM(), damaged)}, `--client-ca \"ca\": the file has a broken certificate, the second: write the file again`},
		{"a chain that is cut off", map[string][]byte{"crt": slices.Concat(server.CertPEM(), first.CertPEM()[:200])}, `\"crt\", --tls-key \"key\": the file has a block that is cut off or damaged`},
		{"a client's pair", map[string][]byte{"crt": client.CertPEM(), "key": client.KeyPEM(t)}, `\"crt\", --tls-key \"key\": the certificate is not for servers`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write := func(files map[string][]byte) {
				for name, data := range files {
					if err := os.WriteFile(name, data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			log := &logtest.Buffer{}
			files := tlsfiles.NewServer(tunnel.TLS{CAFile: "ca", CertFile: "crt", KeyFile: "key"},
				tunnel.SettingNames{CACert: "--client-ca", ClientCert: "--tls-cert", ClientKey: "--tls-key"},
				log.Logger(slog.LevelInfo), func(tlsfiles.Role, *x509.Certificate) {})
			write(map[string][]byte{"ca": bundle, "crt": server.CertPEM(), "key": server.KeyPEM(t)})
			_, clients, before, err := files.ServerConfig()
			if err != nil {
				t.Fatal(err)
			}
			write(tt.file)
			pair, after, version, err := files.ServerConfig()
			if err != nil || version != before || !after.Equal(clients) || !bytes.Equal(pair.Certificate[0], server.Cert.Raw) {
				t.Errorf("version %d after %d, %v", version, before, err)
			}
			if !files.Broken() || !strings.Contains(log.String(), tt.want) {
				t.Errorf("the log is %s", log)
			}
		})
	}
}

// TestCutOffFiles: at start, a file whose last block has no end is refused.
func TestCutOffFiles(t *testing.T) {
	ca, now := certtest.NewCA(t, "test CA"), time.Now()
	pair := ca.Issue(t, x509.Certificate{})
	cut := func(data []byte) []byte { return data[:len(data)-40] }
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"CA":                 {tlsfiles.CheckCA(cut(ca.CertPEM()), now), "the file has a block that is cut off or damaged: write the file again"},
		"second CA":          {tlsfiles.CheckCA(slices.Concat(ca.CertPEM(), cut(ca.CertPEM())), now), "the file has a block that is cut off or damaged: write the file again"},
		"server certificate": {tlsfiles.CheckServerPair(cut(pair.CertPEM()), pair.KeyPEM(t), now), "the file has a block that is cut off or damaged: write the file again"},
		"key":                {tlsfiles.CheckServerPair(pair.CertPEM(), cut(pair.KeyPEM(t)), now), "the file has a broken private key: write the file again"},
	} {
		if tt.err == nil || tt.err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", name, tt.err, tt.want)
		}
	}
}
