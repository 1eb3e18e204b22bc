// SPDX-License-Identifier: Apache-2.0

// Package waittest makes tests wait for events of the code under test, with one limit
// for all of them.
//
// It decides nothing by time: the limit ends a test that would otherwise wait for
// ever. Nothing but tests imports it.
//
//	conn := waittest.Await(t, accepted, "the connection")
//	waittest.Eventually(t, "the end of the stream", func() bool { return streams() == 0 })
package waittest

import (
	"testing"
	"time"
)

const (
	// Limit bounds waits that end at once if nothing is broken.
	Limit = 20 * time.Second
	// pollInterval is how often Eventually asks.
	pollInterval = 5 * time.Millisecond
)

// Await returns what comes from ch, and fails the test if nothing comes within [Limit].
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

// Eventually polls for what no event announces, and fails the test if it does not come
// true within [Limit].
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(pollInterval) {
		if time.Since(began) > Limit {
			t.Fatalf("%s did not come true in %s", what, Limit)
		}
	}
}
