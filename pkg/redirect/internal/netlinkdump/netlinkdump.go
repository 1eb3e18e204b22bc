// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package netlinkdump reads a list from the kernel by netlink until it is whole.
//
// It owns the repetition. It never makes a request itself, and it never changes
// anything.
package netlinkdump

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// tries is how often an interrupted dump is repeated. The kernel interrupts a dump if
// something changes meanwhile. A dump takes less than a millisecond.
const tries = 10

// Complete calls dump until the kernel says that nothing changed meanwhile
// (NLM_F_DUMP_INTR is not set). An interrupted dump may lack entries. After the last
// try Complete returns what there is and [netlink.ErrDumpInterrupted].
func Complete[T any](dump func() ([]T, error)) (all []T, err error) {
	for range tries {
		all, err = dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}
