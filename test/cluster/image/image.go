// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image describes the content of an image.
type Image struct {
	// Reference is the name under which a node finds the image, with registry and tag.
	Reference string
	// Files are all files of the image, except the folders that they need.
	Files []File
	// Entrypoint is the command of a container that names none.
	Entrypoint []string
	// User is "uid:gid", and root if empty.
	User string
	// Env has "NAME=value" elements.
	Env []string
}

// File is one file, link or folder of an image. It belongs to root.
type File struct {
	// Path is the file's path in the image: absolute and clean.
	Path string
	// Source is the file of this machine that is copied. Links are followed.
	Source string
	// Content is the file's content if Source and Link are empty.
	Content string
	// Link is the target of a symbolic link.
	Link string
	// Mode has the permission bits, setuid, setgid, sticky and [fs.ModeDir]. If it is
	// zero, every user may read and execute the file.
	Mode fs.FileMode
}

// Build reads the files and returns the image for this machine's architecture. The
// same files make the same bytes.
func (i Image) Build() (v1.Image, error) {
	if i.Reference == "" {
		return nil, errors.New("an image needs a reference: a node finds it by that")
	}
	var layer bytes.Buffer
	if err := writeLayer(&layer, i.Files); err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Reference, err)
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	// The layer is not compressed: the archive never leaves this machine.
	image, err := mutate.AppendLayers(image, static.NewLayer(layer.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		return nil, fmt.Errorf("image %s: add its layer: %w", i.Reference, err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Reference, err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = v1.Config{Entrypoint: i.Entrypoint, User: i.User, Env: i.Env}
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return nil, fmt.Errorf("image %s: set its configuration: %w", i.Reference, err)
	}
	return image, nil
}

// writeLayer writes the files as a layer, which is a tar archive. Each folder comes
// before the files in it.
func writeLayer(w io.Writer, files []File) error {
	archive := tar.NewWriter(w)
	// folders has each path so far, and whether it is a folder. containerd needs no entry
	// for "/".
	folders := map[string]bool{"/": true}
	for _, file := range files {
		if !path.IsAbs(file.Path) || path.Clean(file.Path) != file.Path {
			return fmt.Errorf("file %q: the path must be absolute and clean", file.Path)
		}
		if _, there := folders[file.Path]; there {
			return fmt.Errorf("file %s is there already, itself or as the folder of an earlier file", file.Path)
		}
		for _, name := range parents(file.Path) {
			isFolder, there := folders[name]
			if there && !isFolder {
				return fmt.Errorf("file %s: %s is no folder", file.Path, name)
			}
			if there {
				continue
			}
			folders[name] = true
			if err := writeFile(archive, File{Path: name, Mode: fs.ModeDir | 0o755}); err != nil {
				return err
			}
		}
		folders[file.Path] = file.Mode.IsDir()
		if err := writeFile(archive, file); err != nil {
			return fmt.Errorf("file %s: %w", file.Path, err)
		}
	}
	return archive.Close()
}

// parents returns the folders above name, the outermost first, without "/".
func parents(name string) []string {
	var folders []string
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		folders = append(folders, dir)
	}
	slices.Reverse(folders)
	return folders
}

func writeFile(archive *tar.Writer, file File) error {
	header := tar.Header{
		Name:    strings.TrimPrefix(file.Path, "/"),
		Mode:    tarMode(file.Mode),
		ModTime: time.Unix(0, 0), // the same bytes for every build
		Format:  tar.FormatPAX,
	}
	switch {
	case file.Mode.IsDir():
		header.Typeflag = tar.TypeDir
		header.Name += "/"
		return archive.WriteHeader(&header)
	case file.Link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, file.Link
		return archive.WriteHeader(&header)
	case file.Source == "":
		header.Size = int64(len(file.Content))
		return writeContent(archive, &header, strings.NewReader(file.Content))
	}
	source, err := os.Open(file.Source)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", file.Source)
	}
	header.Size = info.Size()
	return writeContent(archive, &header, source)
}

func writeContent(archive *tar.Writer, header *tar.Header, content io.Reader) error {
	header.Typeflag = tar.TypeReg
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(archive, content)
	return err
}

// tarMode returns the mode as tar, and Linux, write it.
func tarMode(mode fs.FileMode) int64 {
	if mode == 0 {
		return 0o755
	}
	bits := int64(mode.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
