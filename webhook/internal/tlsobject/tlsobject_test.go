// SPDX-License-Identifier: Apache-2.0

package tlsobject

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// TestChecks: each way in which the files can be wrong is named, and what is well is not
// blamed. No finding has anything of a key.
func TestChecks(t *testing.T) {
	now := time.Now()
	ca, other := certtest.NewCA(t, "CA"), certtest.NewCA(t, "other")
	leaf := func(end time.Duration) *certtest.Pair {
		return ca.Issue(t, x509.Certificate{NotBefore: now.Add(-100 * 24 * time.Hour), NotAfter: now.Add(end)})
	}
	good, soon, over := leaf(365*24*time.Hour), leaf(24*time.Hour), leaf(-time.Hour)
	files := func(certificate, key []byte) map[string][]byte {
		return map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}
	}
	for _, tt := range []struct {
		name   string
		client map[string][]byte // nil: the CA is looked at
		ca     []byte
		status report.Status
		words  string
		usable bool
	}{
		{name: "no CA", ca: []byte("text"), status: report.Failure, words: "Key ca.crt, the proxy-server's CA, "},
		{name: "a CA", ca: ca.CertPEM(), status: report.OK, words: "The proxy-server's CA is valid until ", usable: true},
		{name: "no certificate", client: files(nil, good.KeyPEM(t)), status: report.Failure, words: "Key tls.crt, the client certificate, "},
		{name: "a certificate for a key", client: files(good.CertPEM(), good.CertPEM()), status: report.Failure, words: "Key tls.key "},
		{name: "no pair", client: files(good.CertPEM(), other.KeyPEM(t)), status: report.Failure, words: "do not belong together"},
		{name: "expired", client: files(over.CertPEM(), over.KeyPEM(t)), status: report.Failure, words: "expired"},
		{name: "expires soon", client: files(soon.CertPEM(), soon.KeyPEM(t)), status: report.Warning, words: "expires in ", usable: true},
		{name: "a pair", client: files(good.CertPEM(), good.KeyPEM(t)), status: report.OK, words: "belong together; it is valid until ", usable: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &Object{Kind: "Secret", Namespace: "a", Name: "b", Keys: []string{"ca.crt"}, Pods: []string{"Pod a/c"}, data: map[string][]byte{"ca.crt": tt.ca}}
			what, check := ServerCA, o.CheckCA
			if tt.client != nil {
				o.Keys, o.data, what, check = []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey}, tt.client, ServerClient, o.CheckClient
			}
			f := check(what, now)
			if f.Status != tt.status || !strings.Contains(f.Message, tt.words) || o.Usable != tt.usable {
				t.Errorf("%s, usable: %v: %s", f.Status, o.Usable, f.Message)
			}
			said := fmt.Sprint(f)
			for name, content := range o.data {
				for line := range strings.Lines(string(content)) {
					if strings.Contains(said, strings.TrimSpace(line)) {
						t.Errorf("a finding has a line of %s: %s", name, said)
					}
				}
			}
		})
	}
}

// TestObjectsByKeys: one Secret with different keys is two objects.
func TestObjectsByKeys(t *testing.T) {
	volume := func(key string) corev1.Volume {
		return corev1.Volume{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", Items: []corev1.KeyToPath{{Key: key}}}}}
	}
	a, b, again := Mounted("n", volume("a")), Mounted("n", volume("b")), Mounted("n", volume("a"))
	if a.ID() == b.ID() || a.ID() != again.ID() || a.String() != "Secret n/s" {
		t.Errorf("%q, %q, %q, %s", a.ID(), b.ID(), again.ID(), a)
	}
	if o := Mounted("n", corev1.Volume{}); o != nil {
		t.Errorf("a volume without an object: %s", o)
	}
}
