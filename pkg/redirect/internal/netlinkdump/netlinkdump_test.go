// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netlinkdump

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestInterruptedDumpIsAskedForAgain(t *testing.T) {
	tries := 0
	dump := func(interrupted int) func() ([]int, error) {
		return func() ([]int, error) {
			if tries++; tries <= interrupted {
				return []int{1}, netlink.ErrDumpInterrupted
			}
			return []int{1, 2}, nil
		}
	}
	if got, err := Complete(dump(2)); err != nil || len(got) != 2 || tries != 3 {
		t.Errorf("after %d tries: %v, %v; want the whole dump after 3", tries, got, err)
	}
	if got, err := Complete(dump(1000)); !errors.Is(err, netlink.ErrDumpInterrupted) || len(got) != 1 {
		t.Errorf("a dump that is always interrupted: %v, %v; want what there is, and the error", got, err)
	}
}
