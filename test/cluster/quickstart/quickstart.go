// SPDX-License-Identifier: Apache-2.0

// Package quickstart makes the images of upstream's proxy-server and agent that
// docs/quickstart.md uses. It writes them as OCI archives, under the names in the
// document's manifests.
//
//	archives, err := quickstart.Archives("test/bin", "docs/quickstart", "dist/quickstart")
//	err = seed.Import(ctx, archives.Server)
package quickstart

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/shoot-proxy/proxy-client/test/cluster/image"
)

// Paths are the paths of the two archives.
type Paths struct{ Server, Agent string }

// Archives makes both archives and writes them into the folder out. The programs are in
// the folder binaries, the manifests in the folder manifests.
func Archives(binaries, manifests, out string) (Paths, error) {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return Paths{}, fmt.Errorf("make images: %w", err)
	}
	paths := Paths{Server: filepath.Join(out, "proxy-server.tar"), Agent: filepath.Join(out, "proxy-agent.tar")}
	for path, program := range map[string]string{paths.Server: image.Server, paths.Agent: image.Agent} {
		i, err := image.New(program, binaries)
		if err != nil {
			return Paths{}, err
		}
		if i.Reference, err = imageOf(manifest(manifests, path)); err != nil {
			return Paths{}, err
		}
		if err := i.Write(path); err != nil {
			return Paths{}, err
		}
	}
	return paths, nil
}

// manifest returns the path of the manifest that uses the image of an archive.
func manifest(folder, archive string) string {
	name := filepath.Base(archive)
	return filepath.Join(folder, name[:len(name)-len(".tar")]+".yaml")
}

// imageLine matches the line of a manifest that names its container's image.
var imageLine = regexp.MustCompile(`(?m)^ *image: (\S+)$`)

// imageOf returns the name of the only image in a manifest.
func imageOf(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("find an image's name: %w", err)
	}
	found := imageLine.FindAllSubmatch(text, -1)
	if len(found) != 1 {
		return "", fmt.Errorf("%s names %d images: it has to name one", path, len(found))
	}
	return string(found[0][1]), nil
}
