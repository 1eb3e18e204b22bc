// SPDX-License-Identifier: Apache-2.0

// Package clocktest gives tests a wall clock that somebody has set.
//
// It owns the one way to make a [time.Time] whose two clocks disagree, as they do
// when NTP or an administrator has stepped the wall clock. Nothing but tests
// imports it.
//
//	if late(clocktest.Step(t, time.Now(), time.Hour)) {
//		t.Error("a clock that was set counts as time that has passed")
//	}
package clocktest

import (
	"testing"
	"time"
	"unsafe"
)

// nanosecondBits is how many bits lie below the seconds in the first field of a
// time.Time that has a monotonic reading (time.go in package time).
const nanosecondBits = 30

// Step returns now as a machine reads it whose wall clock was set forward by step,
// whole seconds, possibly negative. The monotonic reading, of which all durations
// are made, is that of now.
func Step(t testing.TB, now time.Time, step time.Duration) time.Time {
	t.Helper()
	stepped := now
	*(*uint64)(unsafe.Pointer(&stepped)) += uint64(step/time.Second) << nanosecondBits
	if passed := stepped.Sub(now); passed != 0 {
		t.Fatalf("package time has changed: a clock that was set shows that %s have passed", passed)
	}
	if moved := time.Duration(stepped.UnixNano() - now.UnixNano()); moved != step {
		t.Fatalf("package time has changed: a clock that was set by %s has moved by %s", step, moved)
	}
	return stepped
}
