// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/kube/cluster"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// TestManagedCertificates installs the chart with its defaults. The webhook makes its own
// certificate, keeps it in the Secret, and gives the API server its CA. No character of
// the rendered chart is changed. For that, Services have addresses of loopback. The
// webhook listens there, at the Service's port. The test does with the Secret what a
// kubelet does.
func TestManagedCertificates(t *testing.T) {
	t.Parallel()
	// The range is not the one of a test that runs beside this one.
	services := fmt.Sprintf("127.%d.%d.0/24", 64+os.Getpid()>>8%64, os.Getpid()%256)
	requireLowPorts(t)
	s := newSystem(t, cluster.Options{ServiceCIDR: services})
	s.releaseNamespace(t)
	s.node(t, "new", "v1.36.0")
	chart := s.render(t, filepath.Join("testdata", "managed.yaml"))
	s.applyAll(t, chart)

	service, err := s.client.CoreV1().Services(releaseNamespace).Get(t.Context(), chart.of(t, "Service").GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(service.Spec.ClusterIP, fmt.Sprint(service.Spec.Ports[0].Port))
	certs := filepath.Join(s.Dir, "certs")
	h := newHook(t, s, chart, address, certs)
	s.mount(t, argument(t, h.args, "secret-name"), certs)
	h.start(t)
	namespace := s.namespace(t, "managed", nil)
	eventually(t, "the API server to trust the webhook", func(context.Context) error {
		pod, err := s.rehearse(t, namespace, labelled(nil))
		if err == nil {
			h.checkInjected(t, pod)
		}
		return err
	})
	wantQuiet(t, h)

	// A webhook that is started again goes on with the same certificate.
	before := s.secret(t, h)
	h.process.Kill()
	h.start(t)
	pod, err := s.create(t, namespace, labelled(nil))
	if err != nil {
		t.Fatal(err)
	}
	h.checkInjected(t, pod)
	if after := s.secret(t, h); after != before {
		t.Error("a webhook that is started again makes a new certificate")
	}
	s.testRenewal(t, h, chart, namespace, address)
	s.testManagedRights(t, h)
	h.stop(t)
}

// wantQuiet fails if the webhook has logged anything that an operator would have to look
// at.
func wantQuiet(t *testing.T, h *hook) {
	t.Helper()
	for line := range strings.Lines(h.process.Log(1000)) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, `"level":"WARN"`) {
			t.Errorf("all is well, and the webhook's log says %s", line)
		}
	}
}

// testRenewal shortens the life of the webhook's certificate while pods are made. The
// webhook renews it long before it expires.
func (s *system) testRenewal(t *testing.T, h *hook, chart manifests, namespace, address string) {
	load := s.load(t, namespace)
	load.goOn(t)
	old, short := s.secret(t, h), s.shorten(t, h)
	renewed := ""
	eventually(t, "a renewed certificate", func(context.Context) error {
		if renewed = s.secret(t, h); renewed == old || renewed == short {
			return errors.New("it is the old one")
		}
		return nil
	})
	s.served(t, address, []byte(renewed))
	s.reconnect(t, chart)
	load.goOn(t)
	t.Logf("%d admissions", load.stop(t))
}

// shorten replaces the webhook's certificate by one of the same CA that expires soon, and
// returns it.
func (s *system) shorten(t *testing.T, h *hook) string {
	t.Helper()
	secrets := s.client.CoreV1().Secrets(releaseNamespace)
	secret, err := secrets.Get(t.Context(), argument(t, h.args, "secret-name"), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := tls.X509KeyPair(secret.Data["ca.crt"], secret.Data["ca.key"])
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	template := *own.Leaf
	template.NotAfter = time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, ca.Leaf, own.Leaf.PublicKey, ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	short := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret.Data["tls.crt"] = short
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return string(short)
}

// testManagedRights: the rights with which the webhook keeps its certificate allow
// nothing else.
func (s *system) testManagedRights(t *testing.T, h *hook) {
	client := s.as(t, h.token)
	other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	if _, err := s.client.CoreV1().Secrets(releaseNamespace).Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	tries := forbidden(client, releaseNamespace)
	tries["read another Secret"] = func(ctx context.Context) error {
		_, err := client.CoreV1().Secrets(releaseNamespace).Get(ctx, other.Name, metav1.GetOptions{})
		return err
	}
	tries["list the webhook configurations"] = func(ctx context.Context) error {
		_, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
		return err
	}
	wantForbidden(t, tries)
}

// secret returns the certificate that the webhook keeps.
func (s *system) secret(t *testing.T, h *hook) string {
	t.Helper()
	secret, err := s.client.CoreV1().Secrets(releaseNamespace).Get(t.Context(), argument(t, h.args, "secret-name"), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(secret.Data["tls.crt"]) == 0 {
		t.Fatal("the Secret has no certificate")
	}
	return string(secret.Data["tls.crt"])
}

// requireLowPorts skips a test visibly if a process may not listen at the port of the
// chart's Service; see [newSystem].
func requireLowPorts(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:443")
	if err == nil {
		listener.Close()
	}
	if !errors.Is(err, os.ErrPermission) {
		return
	}
	if os.Getenv("REQUIRE_ROOT") == "1" {
		t.Fatalf("%s cannot listen at port 443, and REQUIRE_ROOT=1 forbids skipping it", t.Name())
	}
	t.Skipf("SKIPPED: %s cannot listen at port 443: run it as root", t.Name())
}

// mount keeps a folder with the files that the chart's Deployment mounts from the Secret.
// These are the certificate and its key once they are there, not the CA's key.
func (s *system) mount(t *testing.T, secret, dir string) {
	t.Helper()
	folder, err := lab.NewVolume(dir)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { <-ended }) // this runs after the end of t.Context
	go func() {
		defer close(ended)
		written := ""
		_ = lab.Poll(t.Context(), "the test's end", func(ctx context.Context) error {
			object, err := s.client.CoreV1().Secrets(releaseNamespace).Get(ctx, secret, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if cert := string(object.Data["tls.crt"]); cert != "" && cert != written {
				written = cert
				if err := folder.Write(map[string][]byte{"tls.crt": object.Data["tls.crt"], "tls.key": object.Data["tls.key"]}); err != nil {
					t.Errorf("mount the Secret: %v", err)
				}
			}
			return errors.New("it goes on")
		})
	}()
}
