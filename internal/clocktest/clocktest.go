// SPDX-License-Identifier: Apache-2.0

// Package clocktest gives tests a wall clock that was set.
//
// It owns the only way to make a [time.Time] whose wall clock and monotonic clock
// disagree. They disagree when NTP or an administrator has set the wall clock. Only
// tests import it.
//
//	if late(clocktest.Step(t, time.Now(), time.Hour)) {
//		t.Error("a clock that was set counts as time that has passed")
//	}
//
// It never changes the machine's clock.
package clocktest

import (
	"testing"
	"time"
	"unsafe"
)

// nanosecondBits is the number of bits below the seconds in the first field of a
// time.Time with a monotonic reading (time.go in package time).
const nanosecondBits = 30

// Step returns now as a machine reads it whose wall clock was set forward by step. step
// is whole seconds, and may be negative. The monotonic reading, from which all
// durations are computed, stays that of now.
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
