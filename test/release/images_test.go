// SPDX-License-Identifier: Apache-2.0

package release

import (
	"archive/tar"
	"errors"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// image is one of the images of a release.
type image struct {
	digest    v1.Hash // of the index
	platforms map[string]v1.Image
	digests   map[string]v1.Hash // of the platforms' manifests
}

// reference returns the chart's name for the image.
func (i image) reference(program string) string {
	return registry + "/shoot-proxy/" + program + "@" + i.digest.String()
}

// openImages reads the OCI archives, and compares them with images/digests.
func openImages(t *testing.T, dist string) map[string]image {
	t.Helper()
	named := map[string]string{}
	for line := range strings.Lines(read(t, filepath.Join(dist, "images/digests"))) {
		name, digest, _ := strings.Cut(strings.TrimSpace(line), " ")
		named[name] = digest
	}
	all := map[string]image{}
	for _, program := range programs {
		folder := t.TempDir()
		if output, err := exec.CommandContext(t.Context(), "tar", "-x", "-f", filepath.Join(dist, "images", program+".tar"), "-C", folder).CombinedOutput(); err != nil {
			t.Fatalf("unpack the archive of image %s: %v\n%s", program, err, output)
		}
		all[program] = openImage(t, folder)
		if got := all[program].digest.String(); named[program] != got {
			t.Errorf("images/digests gives image %s the digest %q, and the archive has %s", program, named[program], got)
		}
	}
	return all
}

func openImage(t *testing.T, folder string) image {
	t.Helper()
	archive, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := archive.IndexManifest()
	if err != nil || len(manifest.Manifests) == 0 {
		t.Fatalf("the archive has no image (%v)", err)
	}
	opened := image{digest: manifest.Manifests[0].Digest, platforms: map[string]v1.Image{}, digests: map[string]v1.Hash{}}
	index, err := archive.ImageIndex(opened.digest)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = index.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	for _, descriptor := range manifest.Manifests {
		arch := descriptor.Platform.Architecture
		opened.digests[arch] = descriptor.Digest
		if opened.platforms[arch], err = index.Image(descriptor.Digest); err != nil {
			t.Fatal(err)
		}
	}
	if len(opened.platforms) != len(architectures) {
		t.Fatalf("the image is for %d platforms, not %d", len(opened.platforms), len(architectures))
	}
	return opened
}

// checkPrograms compares the program in each image with the binary beside it.
func checkPrograms(t *testing.T, dist string, images map[string]image) {
	binaries := hashes(t, filepath.Join(dist, "bin"))
	for program, image := range images {
		for arch, platform := range image.platforms {
			name := program + "-linux-" + arch
			if got := hashInImage(t, platform, program); got != binaries[name] {
				t.Errorf("image %s for %s has another program (SHA-256 %s) than bin/%s (%s)", program, arch, got, name, binaries[name])
			}
		}
	}
}

// hashInImage returns the SHA-256 of the file with this name, in any folder.
func hashInImage(t *testing.T, platform v1.Image, program string) string {
	t.Helper()
	files := mutate.Extract(platform)
	defer files.Close()
	reader := tar.NewReader(files)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return "no such file"
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg && path.Base(header.Name) == program {
			sum, err := hash(reader)
			if err != nil {
				t.Fatal(err)
			}
			return sum
		}
	}
}
