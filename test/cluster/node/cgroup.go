// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/test/cluster/remover"
)

const cgroupRoot = "/sys/fs/cgroup"

// makeCgroups makes a folder of the given name below each hierarchy of cgroups.
func makeCgroups(name string, r *remover.Remover) error {
	parents, err := hierarchies()
	if err != nil {
		return err
	}
	for _, parent := range parents {
		folder := filepath.Join(parent, name)
		if err := r.Cgroup(folder); err != nil {
			return err
		}
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
		// In version 1 no process may be in a cpuset without CPUs, and a new one has
		// none.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(parent, folder, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// hierarchies returns the folders at which cgroups are mounted: one of version 2, or one
// of version 1 for each controller.
func hierarchies() ([]string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err != nil {
		return nil, fmt.Errorf("cgroups at %s: %w", cgroupRoot, err)
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{cgroupRoot}, delegate()
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		path := filepath.Join(cgroupRoot, entry.Name())
		if !entry.IsDir() { // "cpu" may be a link to "cpu,cpuacct"
			continue
		}
		if _, err := os.Stat(filepath.Join(path, "cgroup.procs")); err == nil {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("a node needs cgroups, and none are mounted below %s", cgroupRoot)
	}
	return found, nil
}

// delegate enables the controllers that a kubelet needs in folders below the root. They
// stay enabled. That changes nothing for running programs.
func delegate() error {
	control := filepath.Join(cgroupRoot, "cgroup.subtree_control")
	text, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	has := strings.Fields(string(text))
	for _, controller := range []string{"cpu", "cpuset", "memory", "pids", "io"} {
		if slices.Contains(has, controller) {
			continue
		}
		if err := os.WriteFile(control, []byte("+"+controller), 0o644); err != nil {
			return fmt.Errorf("a kubelet needs the cgroup controller %s: %w", controller, err)
		}
	}
	return nil
}

// inherit copies the value of a file of the parent to the same file of the folder. It
// does so only if the hierarchy has the file and the folder's is empty.
func inherit(parent, folder, file string) error {
	from, err := os.ReadFile(filepath.Join(parent, file))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	path := filepath.Join(folder, file)
	now, err := os.ReadFile(path)
	if err != nil || len(bytes.TrimSpace(now)) != 0 {
		return err
	}
	return os.WriteFile(path, from, 0o644)
}

// Cgroups returns the existing folders of a node's cgroup.
func Cgroups(name string) []string {
	var found []string
	for _, pattern := range []string{filepath.Join(cgroupRoot, name), filepath.Join(cgroupRoot, "*", name)} {
		paths, _ := filepath.Glob(pattern) // a wrong pattern finds nothing
		found = append(found, paths...)
	}
	return found
}
