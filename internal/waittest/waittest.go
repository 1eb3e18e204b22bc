// SPDX-License-Identifier: Apache-2.0

// Package waittest lets tests wait for events of the code under test, with one limit
// for all of them.
//
// It never decides a test by time: the limit only ends a test that would otherwise wait
// for ever. Only tests import it.
//
//	conn := waittest.Await(t, accepted, "the connection")
//	waittest.Eventually(t, "the end of the stream", func() bool { return streams() == 0 })
package waittest

import (
	"testing"
	"time"
)

const (
	// Limit is the longest wait. All waits end at once if nothing is broken.
	Limit = 20 * time.Second
	// pollInterval is the time between two calls of ok by Eventually.
	pollInterval = 5 * time.Millisecond
)

// Await returns the next value from ch. It fails the test if none comes within [Limit].
func Await[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(Limit):
		t.Fatalf("no sign of %s in %s", what, Limit)
		panic("unreachable")
	}
}

// Eventually calls ok until it returns true, for conditions that no event announces. It
// fails the test if that takes longer than [Limit].
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(pollInterval) {
		if time.Since(began) > Limit {
			t.Fatalf("%s did not come true in %s", what, Limit)
		}
	}
}
