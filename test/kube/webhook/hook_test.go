// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shoot-proxy/proxy-client/test/kube/daemon"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// hook is `webhook serve` as a process, as the chart's Deployment would run it.
type hook struct {
	system *system
	args   []string
	config string // the path of its --config
	// token is the token of the chart's ServiceAccount.
	token   string
	health  string // the address of its health endpoint
	process *daemon.Process
}

// newHook prepares a hook that serves at an address, with certificates in a folder.
func newHook(t *testing.T, s *system, chart manifests, listen, certs string) *hook {
	t.Helper()
	health, err := daemon.HoldPort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(health.Release)
	h := &hook{system: s, health: health.Address(), config: filepath.Join(s.Dir, "config.yaml")}
	if err := os.WriteFile(h.config, chart.config(t), 0o644); err != nil {
		t.Fatal(err)
	}
	h.args = chart.arguments(t, map[string]string{
		"config": h.config, "listen-address": listen, "health-address": h.health, "cert-dir": certs,
	})
	account := chart.of(t, "ServiceAccount").GetName()
	request, err := s.client.CoreV1().ServiceAccounts(releaseNamespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("a token of the chart's ServiceAccount: %v", err)
	}
	h.token = request.Status.Token
	kubeconfig, err := s.Kubeconfig("webhook", h.token)
	if err != nil {
		t.Fatal(err)
	}
	h.args = append(h.args, "--kubeconfig="+kubeconfig) // no pod mounts its token
	t.Cleanup(func() {
		if h.process == nil {
			return
		}
		if t.Failed() {
			t.Logf("the webhook said:\n%s", h.process.Log(60))
		}
		h.process.Kill()
	})
	return h
}

// start starts the webhook, and returns once it says that it is ready.
func (h *hook) start(t testing.TB) {
	t.Helper()
	h.launch(t)
	h.ready(t)
}

func (h *hook) launch(t testing.TB) {
	t.Helper()
	var err error
	if h.process, err = daemon.Start("webhook", h.system.Dir, h.system.webhook, h.args...); err != nil {
		t.Fatal(err)
	}
}

func (h *hook) ready(t testing.TB) {
	t.Helper()
	err := h.process.WaitUntil(within(t, patience), "its readiness", func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.health+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New("/readyz answers " + resp.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// stop ends the webhook as a kubelet does, and expects exit code 0.
func (h *hook) stop(t testing.TB) {
	t.Helper()
	if err := h.process.Stop(within(t, patience)); err != nil {
		t.Errorf("the webhook's end: %v\n%s", err, h.process.Log(60))
	}
	h.process = nil
}

// serving is the files of a Secret that cert-manager would write.
type serving struct {
	folder *lab.Volume
	dir    string
	made   int
}

func newServing(t testing.TB, s *system) *serving {
	t.Helper()
	folder, err := lab.NewVolume(filepath.Join(s.Dir, "certs"))
	if err != nil {
		t.Fatal(err)
	}
	return &serving{folder: folder, dir: s.Dir}
}

// authority makes another CA.
func (c *serving) authority(t testing.TB) *lab.Authority {
	t.Helper()
	c.made++
	ca, err := lab.NewAuthority(c.dir, fmt.Sprintf("webhook-ca-%d", c.made))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// replace replaces the old certificate by a new one of a CA, as a kubelet does, and
// returns it.
func (c *serving) replace(t testing.TB, ca *lab.Authority) []byte {
	t.Helper()
	c.made++
	cert, key, err := ca.Issue(fmt.Sprintf("webhook-%d", c.made), []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"tls.crt": read(t, cert), "tls.key": read(t, key)}
	if err := c.folder.Write(files); err != nil {
		t.Fatal(err)
	}
	return files["tls.crt"]
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// pointAt returns the chart's objects with a webhook configuration that calls the process
// at an address. The rest of it stays as it is.
func (m manifests) pointAt(t testing.TB, address string, ca *lab.Authority) manifests {
	t.Helper()
	var all manifests
	for _, object := range m {
		object = object.DeepCopy()
		all = append(all, object)
		if object.GetKind() != "MutatingWebhookConfiguration" {
			continue
		}
		hooks, _, err := unstructured.NestedSlice(object.Object, "webhooks")
		if err != nil {
			t.Fatal(err)
		}
		for _, hook := range hooks {
			hook, ok := hook.(map[string]any)
			if !ok {
				t.Fatalf("the chart's webhooks are a list of %T", hook)
			}
			path, found, err := unstructured.NestedString(hook, "clientConfig", "service", "path")
			if err != nil || !found {
				t.Fatalf("the chart's webhook has no clientConfig.service.path: %v", err)
			}
			hook["clientConfig"] = map[string]any{"url": "https://" + address + path, "caBundle": encode(read(t, ca.File))}
		}
		if err := unstructured.SetNestedSlice(object.Object, hooks, "webhooks"); err != nil {
			t.Fatal(err)
		}
	}
	all.of(t, "MutatingWebhookConfiguration") // it fails if there was no configuration to change
	return all
}

// settle returns once kube-apiserver uses every webhook configuration that was written
// before. kube-apiserver receives them in order. settle writes one more, and waits until
// that one refuses an object that only settle makes.
func (s *system) settle(t testing.TB) {
	t.Helper()
	nobody, err := daemon.HoldPort()
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Release()
	s.settled++
	mark := map[string]string{"settled": fmt.Sprint(s.settled)}
	url := "https://" + nobody.Address()
	sideEffects, timeout, fail := admissionregistrationv1.SideEffectClassNone, int32(1), admissionregistrationv1.Fail
	configurations := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	made, err := configurations.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "settled-"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "settled.test.example", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			ObjectSelector: &metav1.LabelSelector{MatchLabels: mark},
			FailurePolicy:  &fail, SideEffects: &sideEffects, TimeoutSeconds: &timeout,
			AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "kube-apiserver to know its webhooks", func(ctx context.Context) error {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "settled-", Labels: mark}}
		_, err := s.client.CoreV1().ConfigMaps("default").Create(ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && strings.Contains(err.Error(), "settled.test.example") {
			return nil
		}
		return fmt.Errorf("asked no webhook for a ConfigMap: %v", err)
	})
	if err := configurations.Delete(t.Context(), made.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}
