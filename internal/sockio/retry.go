// SPDX-License-Identifier: Apache-2.0

package sockio

import (
	"errors"

	"golang.org/x/sys/unix"
)

// retry repeats call while it returns EINTR, which means that a signal has ended a
// system call (signal(7)). Package net repeats such calls itself, package unix does
// not. Signals are frequent: the runtime preempts goroutines with them.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
