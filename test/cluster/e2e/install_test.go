// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// ownRegistry is a registry on this machine that stands for registry.example. Variables
// make it the proxy for all hosts but this machine. It has no TLS, which a file in the
// home allows.
func ownRegistry(t *testing.T, home string) (url string, variables []string) {
	t.Helper()
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed) // TLS is refused: skopeo then tries without
			return
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	// skopeo reads this file: containers-registries.conf(5).
	path := filepath.Join(home, ".config", "containers", "registries.conf")
	text := "[[registry]]\nlocation = \"registry.example\"\ninsecure = true\n"
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return server.URL, []string{"HTTP_PROXY=" + server.URL, "HTTPS_PROXY=" + server.URL}
}

// TestInstallAsWritten follows docs/install.md as a person with a release and two
// clusters with konnectivity. In the end the webhook has been installed, upgraded and
// removed. It has also been installed with cert-manager and without helm.
func TestInstallAsWritten(t *testing.T) {
	rig := clustertest.New(t)
	home := t.TempDir()
	url, variables := ownRegistry(t, home)
	r, folder := newInstaller(t, rig, home, variables...)
	r.follow(t, "docs/install.md", "1. The release", "2. The images")
	wantImagesIn(t, url, folder)
	r.follow(t, "docs/install.md", "3. Where the shoot is", "4. The proxy-server", "5. The webhook", "6. The namespace")
	r.follow(t, "docs/install.md", "Upgrade", "Removal")
	wantNothingLeft(t, rig)

	rig.InstallCertManager(t)
	r.follow(t, "docs/install.md", "With cert-manager", "Removal")
	wantNothingLeft(t, rig)

	r.follow(t, "docs/install.md", "Without helm")
	if out, err := rig.Seed.Kubectl(t, "delete", "-k", folder); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	wantNothingLeft(t, rig)
}

// wantImagesIn fails unless a registry has the images of a release, with the digests in
// the chart.
func wantImagesIn(t *testing.T, url, release string) {
	t.Helper()
	digests := releaseDigests(t, release)
	for name, digest := range digests {
		for _, reference := range []string{digest, releaseVersion} {
			answer, err := http.Head(url + "/v2/shoot-proxy/" + name + "/manifests/" + reference)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if got := answer.Header.Get("Docker-Content-Digest"); answer.StatusCode != http.StatusOK || got != digest {
				t.Errorf("%s %s in the registry: %s, digest %s; want %s", name, reference, answer.Status, got, digest)
			}
		}
	}
	if len(digests) != 4 {
		t.Errorf("the release has digests of %d images, want 4", len(digests))
	}
}

// releaseDigests returns the digests of a release's images, by their names.
func releaseDigests(t *testing.T, release string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(release, "images", "digests"))
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, digest, _ := strings.Cut(strings.TrimSpace(line), " ")
		digests[name] = digest
	}
	return digests
}

// wantNothingLeft fails if any part of an installation is left in the seed.
func wantNothingLeft(t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	const name = "proxy-client-webhook"
	admission, roles := rig.Seed.Client.AdmissionregistrationV1(), rig.Seed.Client.RbacV1()
	for what, get := range map[string]func() error{
		"MutatingWebhookConfiguration": func() error {
			_, err := admission.MutatingWebhookConfigurations().Get(t.Context(), name, metav1.GetOptions{})
			return err
		},
		"ClusterRole": func() error {
			_, err := roles.ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
			return err
		},
		"ClusterRoleBinding": func() error {
			_, err := roles.ClusterRoleBindings().Get(t.Context(), name, metav1.GetOptions{})
			return err
		},
		"Namespace": func() error {
			_, err := rig.Seed.Client.CoreV1().Namespaces().Get(t.Context(), "shoot-proxy", metav1.GetOptions{})
			return err
		},
	} {
		if err := get(); !apierrors.IsNotFound(err) {
			t.Errorf("a %s is left of the installation (error %v)", what, err)
		}
	}
}
