// SPDX-License-Identifier: Apache-2.0

// Package eintr repeats system calls that a signal has ended (EINTR, signal(7)).
// Package net does so by itself, package unix does not; and signals are frequent:
// the runtime preempts goroutines by them.
package eintr

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Retry calls call until it returns anything but EINTR.
func Retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
