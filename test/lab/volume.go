// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Volume is a folder that holds a Secret as the kubelet mounts it (AtomicWriter in
// k8s.io/kubernetes/pkg/volume/util). Each file is a link through ..data. ..data itself
// is a link to the folder of one version. Write replaces only ..data.
type Volume struct {
	dir      string
	versions int
}

// data is the link that a new version replaces.
const data = "..data"

// NewVolume makes the folder. Every user may read it.
func NewVolume(dir string) (*Volume, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return &Volume{dir: dir}, nil
}

// Path returns the path of a file, which is the same in all versions.
func (v *Volume) Path(name string) string { return filepath.Join(v.dir, name) }

// Write replaces all files at once.
func (v *Volume) Write(files map[string][]byte) error {
	v.versions++
	version := fmt.Sprintf("..version_%d", v.versions)
	if err := os.Mkdir(v.Path(version), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(v.Path(version), name), text, 0o444); err != nil {
			return err
		}
	}
	old, _ := os.Readlink(v.Path(data)) // there is none before the first version
	next := v.Path(data + "_tmp")
	if err := os.Symlink(version, next); err != nil {
		return err
	}
	if err := os.Rename(next, v.Path(data)); err != nil {
		return err
	}
	for name := range files {
		if err := os.Symlink(filepath.Join(data, name), v.Path(name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(v.Path(old))
}
