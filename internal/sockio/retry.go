// SPDX-License-Identifier: Apache-2.0

package sockio

import (
	"errors"

	"golang.org/x/sys/unix"
)

// retry calls call until it returns anything but EINTR, by which a signal ends a
// system call (signal(7)). Package net does so by itself, package unix does not.
// Signals are frequent: the runtime preempts goroutines by them.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
