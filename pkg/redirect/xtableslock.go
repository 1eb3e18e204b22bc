// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// xtablesLockFile is the file that iptables-legacy locks (flock(2)) for as long
// as it works, on the whole node where the file is shared (iptables(8)).
func xtablesLockFile() string {
	if file := os.Getenv("XTABLES_LOCKFILE"); file != "" {
		return file
	}
	return "/run/xtables.lock"
}

// sayWhileWaiting logs, if a child of iptables-legacy still runs after a second,
// that it waits for the xtables lock, where it does. The caller calls stop when
// the child has ended.
func sayWhileWaiting(log *slog.Logger, child int, timeoutSeconds int) (stop func()) {
	said := make(chan struct{})
	timer := time.AfterFunc(quietWait, func() {
		defer close(said)
		file := xtablesLockFile()
		holder, err := flockHolder(file)
		switch {
		case err == nil && holder == child:
			return // it works, and takes its time
		case err == nil:
			log.Warn("waiting for the xtables lock", "file", file, "holder", processName(holder), "timeout", time.Duration(timeoutSeconds)*time.Second)
		case hasOpen(child, file):
			log.Warn("waiting for the xtables lock", "file", file, "holder", unseenHolder, "timeout", time.Duration(timeoutSeconds)*time.Second)
		}
	})
	return func() {
		if !timer.Stop() {
			<-said
		}
	}
}

const unseenHolder = "a process that cannot be known from here, such as one of another container"

// xtablesLockHeld is the error of a child that waited for the xtables lock.
func xtablesLockHeld(op string, f Family, timeoutSeconds int) error {
	file, who := xtablesLockFile(), unseenHolder
	if holder, err := flockHolder(file); err == nil {
		who = processName(holder)
	}
	return &KernelError{
		Op:   fmt.Sprintf("%s, %s: %s", f, BackendLegacy, op),
		Cure: "wait until that process has released it, or end it, and try again",
		Err:  fmt.Errorf("the xtables lock %s was not released in %d seconds: %w: %s", file, timeoutSeconds, ErrBusy, who),
	}
}

// errNoHolder is a lock that is free, or whose holder is not in this process's
// PID namespace: /proc/locks leaves such a one out.
var errNoHolder = errors.New("no holder is known")

// flockHolder returns the process that has locked a file.
func flockHolder(file string) (pid int, err error) {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: file, Err: err}
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0, err
	}
	return parseLocks(string(locks), fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino))
}

// parseLocks finds the holder of a file, MAJOR:MINOR:INODE, in /proc/locks
// (proc_locks(5)). A line with an arrow is a process that waits.
func parseLocks(locks, file string) (pid int, err error) {
	for line := range strings.Lines(locks) {
		words := strings.Fields(line)
		if len(words) > 5 && words[1] == "FLOCK" && words[5] == file {
			return strconv.Atoi(words[4])
		}
	}
	return 0, errNoHolder
}

// hasOpen reports whether a process has a file open.
func hasOpen(pid int, file string) bool {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	descriptors, err := os.ReadDir(folder)
	if err != nil {
		return false
	}
	want, err := filepath.EvalSymlinks(file)
	if err != nil {
		return false
	}
	for _, d := range descriptors {
		if got, err := os.Readlink(filepath.Join(folder, d.Name())); err == nil && got == want {
			return true
		}
	}
	return false
}
