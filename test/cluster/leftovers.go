// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/test/cluster/node"
	"github.com/shoot-proxy/proxy-client/test/cluster/remover"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Leftovers lists what clusters with that [Options].Dir have on the machine: processes,
// mounts, cgroup folders and files. The calling process does not count.
func Leftovers(dir string) []string {
	var left []string
	for pid, why := range processes(dir) {
		left = append(left, fmt.Sprintf("process %d %s", pid, why))
	}
	for _, folder := range append(node.Cgroups(cgroupName(dir, "seed")), node.Cgroups(cgroupName(dir, "shoot"))...) {
		left = append(left, "cgroup "+folder)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || mentions(mounts, dir) {
		left = append(left, "a mount with "+dir)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		left = append(left, "folder "+dir)
	}
	slices.Sort(left)
	return left
}

// cgroupName returns the name of a node's cgroup folder.
func cgroupName(dir, name string) string { return filepath.Base(dir) + "-" + name }

// RunArgument is the argument before Dir of a program that has started clusters for
// others. [Remove] recognizes the program by it.
const RunArgument = "run"

// processes returns the ids of the clusters' processes, with their command lines. A
// process of a node or a pod has the clusters' name in its mounts or its cgroups.
func processes(dir string) map[int]string {
	found := map[int]string{}
	entries, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	for _, entry := range entries {
		pid, err := strconv.Atoi(filepath.Base(entry))
		if err != nil || pid == os.Getpid() {
			continue
		}
		// All three are empty if the process is gone.
		command, _ := os.ReadFile(filepath.Join(entry, "cmdline"))
		cgroups, _ := os.ReadFile(filepath.Join(entry, "cgroup"))
		mounts, _ := os.ReadFile(filepath.Join(entry, "mountinfo"))
		if owns(command, dir) || mentions(cgroups, filepath.Base(dir)) || mentions(mounts, dir) {
			found[pid] = strings.TrimSpace(fmt.Sprintf("%.120s", bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// owns reports whether the command line, in which a zero byte ends each argument, is that of
// the program that has started the clusters.
func owns(command []byte, dir string) bool {
	return bytes.HasSuffix(command, []byte("\x00"+RunArgument+"\x00"+dir+"\x00"))
}

// Standing returns the state of clusters with that [Options].Dir that are ready, and whose
// nodes and owner live. Without such clusters it returns nil.
func Standing(dir string) *State {
	state, err := LoadState((&Clusters{Dir: dir}).SeedKubeconfig())
	if err != nil {
		return nil
	}
	alive, owned := processes(dir), false
	for pid := range alive {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may have ended
		owned = owned || owns(command, dir)
	}
	for _, pid := range []int{state.Seed.PID, state.Shoot.PID} {
		if _, ok := alive[pid]; !ok || !owned {
			return nil
		}
	}
	return state
}

// mentions reports whether the text has the name with no longer name around it.
func mentions(text []byte, name string) bool {
	for {
		i := bytes.Index(text, []byte(name))
		if i < 0 {
			return false
		}
		text = text[i+len(name):]
		if len(text) == 0 || !('a' <= text[0] && text[0] <= 'z' || '0' <= text[0] && text[0] <= '9') {
			return true
		}
	}
}

// Remove removes clusters that another program has started with that [Options].Dir, in
// any state. It is no error if there are none.
func Remove(ctx context.Context, dir string) error {
	if !strings.HasPrefix(filepath.Base(dir), prefix) {
		return fmt.Errorf("remove the clusters in %q: the folder's name has to begin with %s", dir, prefix)
	}
	// The program that owns the clusters is killed first. The kernel and the removers
	// then do the rest, unless they were killed as well.
	for _, all := range []bool{false, true} {
		for pid := range processes(dir) {
			command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may have ended
			if all || owns(command, dir) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if waitForNothing(ctx, dir) == nil {
			return nil
		}
	}
	r, err := remover.Start()
	if err != nil {
		return err
	}
	errs := []error{r.Folder(dir)}
	for _, name := range []string{"seed", "shoot"} {
		for _, folder := range node.Cgroups(cgroupName(dir, name)) {
			errs = append(errs, r.Cgroup(folder))
		}
	}
	return errors.Join(append(errs, r.Remove(), waitForNothing(ctx, dir))...)
}

// waitForNothing gives a killed program and its remover some seconds to end.
func waitForNothing(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return lab.Poll(ctx, "nothing to be left of "+dir, func(context.Context) error {
		if left := Leftovers(dir); len(left) != 0 {
			return errors.New(strings.Join(left, "; "))
		}
		return nil
	})
}
