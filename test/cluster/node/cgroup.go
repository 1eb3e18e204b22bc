// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/shoot-proxy/proxy-client/test/cluster/remover"
)

const cgroupRoot = "/sys/fs/cgroup"

// makeCgroups makes a folder of the given name below each cgroup controller.
func makeCgroups(name string, r *remover.Remover) error {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "memory")); err != nil {
		return fmt.Errorf("a node needs the cgroup hierarchies of version 1 (boot with systemd.unified_cgroup_hierarchy=0): %w", err)
	}
	controllers, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return err
	}
	for _, controller := range controllers {
		parent := filepath.Join(cgroupRoot, controller.Name())
		if !controller.IsDir() { // "cpu" may be a link to "cpu,cpuacct"
			continue
		}
		if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil {
			continue // nothing is mounted there
		}
		folder := filepath.Join(parent, name)
		if err := r.Cgroup(folder); err != nil {
			return err
		}
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
		// No process may be in a cpuset without CPUs, and a new one has none.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(parent, folder, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit copies what a file of the parent says to the same file of the folder, if the
// controller has one.
func inherit(parent, folder, file string) error {
	path := filepath.Join(folder, file)
	now, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil || len(bytes.TrimSpace(now)) != 0 {
		return err
	}
	text, err := os.ReadFile(filepath.Join(parent, file))
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// Cgroups are the existing folders of a node's cgroup.
func Cgroups(name string) []string {
	found, _ := filepath.Glob(filepath.Join(cgroupRoot, "*", name)) // a wrong pattern finds nothing
	return found
}
