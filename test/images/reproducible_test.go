// SPDX-License-Identifier: Apache-2.0

package images

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

// cache returns the folder where the build under test keeps its downloads.
func cache(t testing.TB) string {
	t.Helper()
	folder, err := filepath.Abs(filepath.Join(root, "test", "bin", "cache", "images"))
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// TestSecondBuildMakesTheSameBytes: a second build makes the same archives. It has a copy
// of the sources in another folder with other modes, an empty storage and no network.
func TestSecondBuildMakesTheSameBytes(t *testing.T) {
	netnstest.RequireRoot(t)
	sources, fresh, second := t.TempDir(), t.TempDir(), t.TempDir()
	run(t, exec.Command("bash", "-euo", "pipefail", "-c", `
		cd "$1"
		umask 077
		git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
			tar --create --null --ignore-failed-read --files-from=- | tar --extract --no-same-permissions --directory="$2"
		mkdir -p "$4/tmp/buildah-cache"
		cp "$3"/base-*.tar "$4"
		cp -r "$3/tmp/buildah-cache/debian-packages" "$4/tmp/buildah-cache"
	`, "copy", root, sources, cache(t), fresh))

	a := open(t, "webhook")
	_, configuration := a.image(t, "amd64")
	registry, _, _ := strings.Cut(a.layout.Manifests[0].Annotations["io.containerd.image.name"], "/shoot-proxy/")
	cmd := exec.Command("unshare", "--net", "--kill-child", "--fork", filepath.Join(sources, "images", "build"))
	cmd.Env = append(os.Environ(),
		"IMAGES_CACHE="+fresh, "IMAGES_DIST="+second, "REGISTRY="+registry,
		"VERSION="+configuration.Config.Labels["org.opencontainers.image.version"],
		"REVISION="+configuration.Config.Labels["org.opencontainers.image.revision"],
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", configuration.Created.Unix()))
	run(t, cmd)
	for _, name := range append(names(), "digests") {
		if name != "digests" {
			name += ".tar"
		}
		if want, got := hash(t, filepath.Join(dist(t), name)), hash(t, filepath.Join(second, name)); want != got {
			t.Errorf("%s has hash %x, and %x in the second build", name, want, got)
		}
	}
}

func hash(t *testing.T, name string) [sha256.Size]byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(content)
}
