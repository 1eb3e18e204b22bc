// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/test/cluster/control"
)

// inotifyLimit is the sysctl for how many instances each user may have. A program that
// gets no instance waits for ever, or ends at once.
const inotifyLimit = "fs.inotify.max_user_instances"

// inotifyNeed returns how many instances of each user must be free. The programs of both
// clusters and of the tests' pods took at most 18 as root and 15 as the other user.
func inotifyNeed() map[int]int { return map[int]int{0: 25, control.User: 20} }

// enoughInotifyInstances refuses a start that could only hang.
func enoughInotifyInstances() error {
	for user, need := range inotifyNeed() {
		free, err := freeInotifyInstances(user, need)
		if err != nil {
			return fmt.Errorf("look for free inotify instances of user %d: %w", user, err)
		}
		if free < need {
			limit, _ := os.ReadFile("/proc/sys/fs/inotify/max_user_instances") // without the number, the sentence is still true
			return fmt.Errorf("user %d has %d inotify instances free of the %s that the sysctl %s allows, and two clusters need %d: "+
				"end other clusters, or `sysctl %[4]s=1024`", user, free, strings.TrimSpace(string(limit)), inotifyLimit, need)
		}
	}
	return nil
}

// freeInotifyInstances returns how many of them a user can still make, counted up to
// most. The kernel does not report the number. The instances are therefore made, and
// closed again.
func freeInotifyInstances(user, most int) (int, error) {
	type result struct {
		free int
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread with another user ends here
		const keep = ^uintptr(0)
		if _, _, code := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(user), keep); code != 0 {
			done <- result{err: fmt.Errorf("become that user: %w", code)}
			return
		}
		free, err := makeInotifyInstances(most)
		done <- result{free, err}
	}()
	r := <-done
	return r.free, r.err
}

// makeInotifyInstances returns how many can be made.
func makeInotifyInstances(most int) (made int, err error) {
	for ; made < most; made++ {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if errors.Is(err, unix.EMFILE) {
			return made, nil
		}
		if err != nil {
			return made, fmt.Errorf("make an inotify instance: %w", err)
		}
		defer unix.Close(fd)
	}
	return made, nil
}
