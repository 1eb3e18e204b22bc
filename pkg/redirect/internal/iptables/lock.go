// SPDX-License-Identifier: Apache-2.0

//go:build linux

package iptables

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

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/process"
)

// quietWait is how long a program may run before the wait for the lock is logged.
const quietWait = time.Second

// lockFile returns the file that iptables-legacy locks (flock(2)) while it works
// (iptables(8)). The lock is that of the whole node if the node's file is mounted.
func lockFile() string {
	if file := os.Getenv("XTABLES_LOCKFILE"); file != "" {
		return file
	}
	return "/run/xtables.lock"
}

// sayWhileWaiting logs, if a child of iptables-legacy still runs after a second, that it
// waits for the xtables lock. It logs nothing if the child itself has the lock. The caller
// calls stop when the child has ended.
func sayWhileWaiting(log *slog.Logger, child int, timeoutSeconds int) (stop func()) {
	said := make(chan struct{})
	timer := time.AfterFunc(quietWait, func() {
		defer close(said)
		file := lockFile()
		holder, err := flockHolder(file)
		switch {
		case err == nil && holder == child:
			return // it works, and is slow
		case err == nil:
			log.Warn("waiting for the xtables lock", "file", file, "holder", process.Describe(holder), "timeout", time.Duration(timeoutSeconds)*time.Second)
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

// lockHeld returns the error of a child that did not get the xtables lock in time.
func lockHeld(op string, f family.Family, timeoutSeconds int) error {
	file, holder := lockFile(), unseenHolder
	if pid, err := flockHolder(file); err == nil {
		holder = process.Describe(pid)
	}
	return &kernelerror.Error{
		Op:   fmt.Sprintf("%s, %s: %s", f, Legacy, op),
		Cure: "wait until that process has released it, or end it, and try again",
		Err:  fmt.Errorf("the xtables lock %s was not released in %d seconds: %w: %s", file, timeoutSeconds, kernelerror.ErrBusy, holder),
	}
}

// errNoHolder is a lock that is free, or whose holder is in another PID namespace:
// /proc/locks leaves such a holder out.
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
