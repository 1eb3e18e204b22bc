// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Leftovers lists what labs of this program have left on the machine: named namespaces
// and folders. Labs of other programs do not count.
func Leftovers() []string {
	var left []string
	for _, pattern := range []string{"/run/netns/", "/tmp/"} {
		found, _ := filepath.Glob(fmt.Sprintf("%s%s%d-*", pattern, prefix, os.Getpid())) // the pattern is well formed
		left = append(left, found...)
	}
	return left
}

// sweep removes what programs left that were killed before they could close their labs.
// These are namespaces without a process, and their folders. A lab that stays for a
// person has processes in each of its namespaces.
func sweep() {
	found, _ := filepath.Glob("/run/netns/" + prefix + "*-*")
	inUse := map[string]bool{}
	for _, path := range found {
		var st unix.Stat_t
		lab := labOf(path)
		if makerRuns(lab) || unix.Stat(path, &st) != nil || len(inhabitants(st.Ino)) != 0 {
			inUse[lab] = true
		}
	}
	for _, path := range found {
		if !inUse[labOf(path)] {
			_ = netns.DeleteNamed(filepath.Base(path)) // the next lab's sweep tries again
		}
	}
	folders, _ := filepath.Glob("/tmp/" + prefix + "*-*")
	for _, path := range folders {
		if lab := filepath.Base(path); !inUse[lab] && !makerRuns(lab) {
			_ = os.RemoveAll(path)
		}
	}
}

// labOf returns the lab's name from that of a namespace, without the part for the host.
func labOf(path string) string {
	name := filepath.Base(path)
	return name[:strings.LastIndexByte(name, '-')]
}

// makerRuns reports whether the program whose id is in a lab's name still runs.
func makerRuns(lab string) bool {
	pid, _, _ := strings.Cut(strings.TrimPrefix(lab, prefix), "-")
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}

// inhabitants returns the ids of the processes inside a network namespace. This program's
// own threads do not count: /proc/PID shows the main thread's namespace.
func inhabitants(inode uint64) []int {
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		var st unix.Stat_t
		if unix.Stat(link, &st) != nil || st.Ino != inode {
			continue // it has ended, or is in another namespace
		}
		if pid, err := strconv.Atoi(strings.Split(link, "/")[2]); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// endInhabitants kills what still runs in one of our namespaces. It reports the processes
// that outlived those of the lab. No other process ever enters the namespace.
func endInhabitants(name string, inode uint64) error {
	// A process that was signalled just now may need a moment to end.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := Poll(ctx, "processes in "+name+" to end", func(context.Context) error {
		pids := inhabitants(inode)
		if len(pids) == 0 {
			return nil
		}
		var names []string
		for _, pid := range pids {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			names = append(names, fmt.Sprintf("%d %.80s", pid, strings.ReplaceAll(string(cmdline), "\x00", " ")))
		}
		return fmt.Errorf("still there: %s", strings.Join(names, "; "))
	})
	if err == nil {
		return nil
	}
	for _, pid := range inhabitants(inode) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return err
}
