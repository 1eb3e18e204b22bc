// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

// newInstaller returns a person who has what the documents require. This is a release,
// the namespace monitoring and Prometheus Operator in the seed, and the CAs of the
// proxy-server.
func newInstaller(t *testing.T, rig *clustertest.Rig, home string, environment ...string) (_ *reader, folder string) {
	t.Helper()
	folder = copyOfRelease(t)
	installOperator(t, rig)
	ownNamespaces(t, rig, []string{"monitoring", "shoot-proxy"}, nil)
	monitoring := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring"}}
	if _, err := rig.Seed.Client.CoreV1().Namespaces().Create(t.Context(), monitoring, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	k := rig.State.Konnectivity
	for name, source := range map[string]string{
		"ca.crt":        k.CA(),
		"client-ca.crt": k.CA(),
		"client-ca.key": k.FrontendCAKey,
	} {
		text, err := os.ReadFile(source)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return newReader(t, rig, folder, home, environment...), folder
}

// copyOfRelease returns a folder with the release, in which a reader can work.
func copyOfRelease(t *testing.T) string {
	t.Helper()
	release, folder := releaseFolder(t), t.TempDir()
	entries, err := os.ReadDir(release)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		from, to := filepath.Join(release, entry.Name()), filepath.Join(folder, entry.Name())
		if entry.Name() == "deploy" { // kustomize follows no link out of its folder
			err = os.CopyFS(to, os.DirFS(from))
		} else {
			err = os.Symlink(from, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// TestReadmeAsWritten follows only README.md, with the same release and the same files.
// In the end a Prometheus has both containers. The way to a kubelet can be checked there,
// and the rules can be inspected as docs/debugging.md says.
func TestReadmeAsWritten(t *testing.T) {
	rig := clustertest.New(t)
	r, _ := newInstaller(t, rig, t.TempDir())
	r.follow(t, "docs/install.md", "4. The proxy-server") // README.md has only a link to it
	r.follow(t, "README.md", "With the webhook")
	rig.Seed.AwaitPod(t, "monitoring", "prometheus-shoot-0", clustertest.Ready) // a reader asks a pod that runs
	steps := append(r.told(t, "README.md", "When something does not work"), r.told(t, "docs/debugging.md", "The rules of a running pod")...)
	const inPod = " --namespace monitoring prometheus-shoot-0"
	real := strings.NewReplacer("kubectl debug POD", "kubectl debug"+inPod, "kubectl exec POD", "kubectl exec"+inPod,
		"10.250.0.4:10250", net.JoinHostPort(shoot.Address.String(), "10250"))
	for i := range steps {
		steps[i].Command = real.Replace(steps[i].Command)
	}
	r.do(t, steps)
}
