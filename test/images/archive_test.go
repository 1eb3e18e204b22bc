// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// root is the path of the repository from this package's tests.
const root = "../.."

// names returns the names of the images.
func names() []string { return []string{"init-redirect", "proxy-client", "proxy-exit", "webhook"} }

// architectures returns the architectures of each image.
func architectures() []string { return []string{"amd64", "arm64"} }

// dist returns the folder of the archives under test.
func dist(t testing.TB) string {
	t.Helper()
	folder := os.Getenv("IMAGES_DIST")
	if folder == "" {
		folder = filepath.Join(root, "dist", "images")
	}
	if _, err := os.Stat(filepath.Join(folder, "digests")); err != nil {
		t.Fatalf("find the images under test: %v: build and test them with `make test-images`", err)
	}
	return folder
}

// archive is an OCI archive that was unpacked.
type archive struct {
	name   string
	layout v1.IndexManifest // index.json
	index  v1.ImageIndex    // the index that both of its entries refer to
}

// open unpacks the archive of an image.
func open(t testing.TB, name string) archive {
	t.Helper()
	folder := t.TempDir()
	run(t, exec.Command("tar", "--extract", "--directory", folder, "--file", filepath.Join(dist(t), name+".tar")))
	whole, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatalf("read the layout of %s: %v", name, err)
	}
	manifest, err := whole.IndexManifest()
	if err != nil {
		t.Fatalf("read index.json of %s: %v", name, err)
	}
	index, err := whole.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatalf("read the index of %s: %v", name, err)
	}
	return archive{name: name, layout: *manifest, index: index}
}

// platforms returns the descriptors of the images of both platforms.
func (a archive) platforms(t testing.TB) []v1.Descriptor {
	t.Helper()
	manifest, err := a.index.IndexManifest()
	if err != nil {
		t.Fatalf("read the index of %s: %v", a.name, err)
	}
	return manifest.Manifests
}

// annotations returns the annotations of the index.
func (a archive) annotations(t testing.TB) map[string]string {
	t.Helper()
	manifest, err := a.index.IndexManifest()
	if err != nil {
		t.Fatalf("read the index of %s: %v", a.name, err)
	}
	return manifest.Annotations
}

// image returns the image for an architecture, and its configuration.
func (a archive) image(t testing.TB, architecture string) (v1.Image, *v1.ConfigFile) {
	t.Helper()
	for _, d := range a.platforms(t) {
		if d.Platform == nil || d.Platform.Architecture != architecture {
			continue
		}
		image, err := a.index.Image(d.Digest)
		if err != nil {
			t.Fatalf("read %s for %s: %v", a.name, architecture, err)
		}
		configuration, err := image.ConfigFile()
		if err != nil {
			t.Fatalf("read the configuration of %s for %s: %v", a.name, architecture, err)
		}
		return image, configuration
	}
	t.Fatalf("%s has no image for %s", a.name, architecture)
	return nil, nil
}

// file is a file, a folder or a link of an image.
type file struct {
	tar.Header
	content []byte
}

// files returns what a container of an image sees, by path without a leading slash.
func files(t testing.TB, image v1.Image) map[string]file {
	t.Helper()
	stream := mutate.Extract(image)
	defer stream.Close()
	all := map[string]file{}
	for reader := tar.NewReader(stream); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("read the layers: %v", err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatalf("read %s of the layers: %v", header.Name, err)
		}
		all[strings.Trim(strings.TrimPrefix(header.Name, "./"), "/")] = file{*header, content}
	}
}

// eachImage runs a test on every image and platform.
func eachImage(t *testing.T, test func(t *testing.T, name, architecture string, configuration *v1.ConfigFile, image v1.Image)) {
	for _, name := range names() {
		a := open(t, name)
		for _, architecture := range architectures() {
			t.Run(fmt.Sprintf("%s for %s", name, architecture), func(t *testing.T) {
				image, configuration := a.image(t, architecture)
				test(t, name, architecture, configuration, image)
			})
		}
	}
}

// run runs a command, fails the test if it fails, and returns its standard output.
func run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, stderr.String())
	}
	return string(out)
}
