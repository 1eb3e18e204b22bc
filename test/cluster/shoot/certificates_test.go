// SPDX-License-Identifier: Apache-2.0

package shoot

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// script makes the certificates of a control plane.
const script = "../../../deploy/control-plane/certificates/make.sh"

// TestCertificatesAreRenewed: deploy/control-plane/certificates/make.sh keeps the CAs of its
// folder, so that old and new certificates are accepted side by side.
func TestCertificatesAreRenewed(t *testing.T) {
	folder := t.TempDir()
	leaf := filepath.Join("proxy-client-tls", "tls.crt")
	makeCertificates(t, folder)
	authority, before := read(t, folder, "clients-ca.crt"), read(t, folder, leaf)
	makeCertificates(t, folder)
	after := read(t, folder, leaf)
	if !bytes.Equal(authority, read(t, folder, "clients-ca.crt")) {
		t.Error("the second run has made another CA")
	}
	if bytes.Equal(before, after) {
		t.Error("the second run has made no new certificate")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(read(t, folder, filepath.Join("konnectivity-server", "ca.crt"))) {
		t.Fatal("the server's ca.crt has no certificate")
	}
	for when, text := range map[string][]byte{"first": before, "second": after} {
		block, _ := pem.Decode(text)
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		options := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if _, err := certificate.Verify(options); err != nil {
			t.Errorf("the server refuses the client's certificate of the %s run: %v", when, err)
		}
	}
}

func makeCertificates(t *testing.T, folder string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), script, folder, "shoot", "192.0.2.1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func read(t *testing.T, folder, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestBadArgumentsForCertificates: the script refuses them in one sentence, before it makes
// anything.
func TestBadArgumentsForCertificates(t *testing.T) {
	for _, tt := range []struct{ namespace, host, want string }{
		{"shoot", "", "AGENTS_HOST ''"},
		{"shoot", "balancer.example:8091", "AGENTS_HOST 'balancer.example:8091'"},
		{"shoot", "192.0.2.1 192.0.2.2", "AGENTS_HOST '192.0.2.1 192.0.2.2'"},
		{"shoot,DNS:other", "192.0.2.1", "NAMESPACE 'shoot,DNS:other'"},
		{"", "192.0.2.1", "NAMESPACE ''"},
	} {
		folder := filepath.Join(t.TempDir(), "certificates")
		out, err := exec.CommandContext(t.Context(), script, folder, tt.namespace, tt.host).CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte(tt.want)) || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%q, %q: %v, want one sentence about %s: %s", tt.namespace, tt.host, err, tt.want, out)
		}
		if _, err := os.Stat(folder); err == nil {
			t.Errorf("%q, %q: the folder is there", tt.namespace, tt.host)
		}
	}
}

// TestHalfACAIsRefused: without its key a CA's certificate cannot sign. A new CA under the
// same name would be a surprise.
func TestHalfACAIsRefused(t *testing.T) {
	folder := t.TempDir()
	makeCertificates(t, folder)
	if err := os.Remove(filepath.Join(folder, "agents-ca.key")); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), script, folder, "shoot", "192.0.2.1").CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("has only one of agents-ca.key and agents-ca.crt")) {
		t.Errorf("%v: %s", err, out)
	}
}
