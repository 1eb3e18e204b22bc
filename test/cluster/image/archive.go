// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nameAnnotation is the key of an image's whole reference in an archive's index.
// containerd's importer reads it (core/images/annotations.go).
const nameAnnotation = "io.containerd.image.name"

// Write builds the image and writes it as an OCI archive: the tar file of an OCI image
// layout. The file gets its name once it is complete.
func (i Image) Write(name string) error {
	image, err := i.Build()
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(name), ".image")
	if err != nil {
		return fmt.Errorf("archive of image %s: %w", i.Reference, err)
	}
	defer os.Remove(file.Name())
	err = writeArchive(file, image, i.Reference)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("archive of image %s: %w", i.Reference, err)
	}
	return nil
}

func writeArchive(w io.Writer, image v1.Image, reference string) error {
	archive := tar.NewWriter(w)
	descriptor, err := partial.Descriptor(image)
	if err != nil {
		return err
	}
	descriptor.Annotations = map[string]string{nameAnnotation: reference}
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests:     []v1.Descriptor{*descriptor},
	})
	if err != nil {
		return err
	}
	if err := writeBytes(archive, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := writeBytes(archive, "index.json", index); err != nil {
		return err
	}
	if err := writeBlobs(archive, image); err != nil {
		return err
	}
	return archive.Close()
}

// writeBlobs writes the image's manifest, configuration and layers.
func writeBlobs(archive *tar.Writer, image v1.Image) error {
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	for _, content := range [][]byte{manifest, config} {
		digest, _, err := v1.SHA256(bytes.NewReader(content))
		if err != nil {
			return err
		}
		if err := writeBytes(archive, blob(digest), content); err != nil {
			return err
		}
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		if err := writeLayerBlob(archive, layer); err != nil {
			return err
		}
	}
	return nil
}

func writeLayerBlob(archive *tar.Writer, layer v1.Layer) error {
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	size, err := layer.Size()
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	return writeContent(archive, &tar.Header{Name: blob(digest), Mode: 0o644, Size: size}, content)
}

func writeBytes(archive *tar.Writer, name string, content []byte) error {
	return writeContent(archive, &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}, bytes.NewReader(content))
}

// blob returns the path of a digest in an image layout.
func blob(digest v1.Hash) string { return path.Join("blobs", digest.Algorithm, digest.Hex) }
