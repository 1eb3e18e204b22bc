// SPDX-License-Identifier: Apache-2.0

// Command pause is the first program in each pod of the test clusters. It keeps the pod's
// namespaces alive, waits for processes that lost their parent, and ends on SIGINT or
// SIGTERM.
package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	reap() // Children that ended before the line above send no further signal.
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap waits for every child that has ended: one signal may stand for several. If the
// pod's containers share a process namespace, this program is the parent of orphans.
func reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}
