// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// controlPlane stands for the repository's folder deploy/control-plane in the files of
// [Kustomize].
const controlPlane = "CONTROL_PLANE"

// Kustomize writes files into a new folder and returns what `kubectl kustomize` makes of
// them. The word CONTROL_PLANE in a file is replaced by the path of deploy/control-plane,
// so that a kustomization there can be one of its resources. The files' names may have
// folders. The programs of the clusters are in the folder binaries.
func Kustomize(ctx context.Context, binaries, folder string, files map[string]string) (string, error) {
	root, err := lab.RepositoryRoot()
	if err != nil {
		return "", err
	}
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		base, err := relative(filepath.Dir(path), filepath.Join(root, "deploy", "control-plane"))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, controlPlane, base)), 0o644); err != nil {
			return "", err
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(binaries, "kube", "kubectl"), "kustomize", folder).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("kubectl kustomize %s: %w", folder, err)
	}
	return string(out), nil
}

// relative returns the path from a folder to another one, without links in it. kustomize
// refuses an absolute path.
func relative(from, to string) (string, error) {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return "", err
	}
	if to, err = filepath.EvalSymlinks(to); err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}
