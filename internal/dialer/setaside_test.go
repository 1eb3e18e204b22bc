// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestBackoff: the back-off grows to its bound and stays there, with jitter.
func TestBackoff(t *testing.T) {
	for _, tc := range []struct {
		failures int
		want     time.Duration
	}{
		{1, 250 * time.Millisecond},
		{2, 500 * time.Millisecond},
		{3, time.Second},
		{4, 2 * time.Second},
		{5, 4 * time.Second},
		{6, 8 * time.Second},
		{7, maxBackoff},
		{64, maxBackoff},
		{1 << 40, maxBackoff},
	} {
		if got := backoff(tc.failures, 0.5); got != tc.want {
			t.Errorf("after %d failures: %v, want %v", tc.failures, got, tc.want)
		}
		if low, high := backoff(tc.failures, 0), backoff(tc.failures, 0.999999); low >= tc.want || high <= tc.want || high > 2*low {
			t.Errorf("after %d failures: between %v and %v, want around %v", tc.failures, low, high, tc.want)
		}
	}
}

// TestSetAside: failures that happen together count once, a success resets everything,
// and one dial at a time tries.
func TestSetAside(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	const first, second = 250 * time.Millisecond, 500 * time.Millisecond
	var a setAside
	is := func(what string, d time.Duration, want bool) {
		t.Helper()
		if got := a.isAside(at(d), false); got != want {
			t.Errorf("%s: set aside is %v, want %v", what, got, want)
		}
	}
	is("at first", 0, false)
	if c := a.claim(); c != 0 {
		t.Errorf("a dial to an endpoint in good standing claims %d, want nothing", c)
	}
	a.failed(at(-time.Second), at(0), false, 0.5)
	is("after a failure", 0, true)
	for range 100 { // all of them began before the end of the back-off
		a.failed(at(-time.Second), at(first/2), false, 0.5)
	}
	is("during the back-off", first-1, true)
	is("after it", first, false)

	claim := a.claim()
	is("while one tries", first, true)
	if other := a.claim(); claim == 0 || other != 0 {
		t.Errorf("claims %d and %d, want one", claim, other)
	}
	a.release(0) // by a dial that had no claim
	is("after another dial's end", first, true)
	a.failed(at(first), at(first), false, 0.5)
	a.release(claim)
	is("after a failed try", first+second-1, true)
	is("after a second back-off, which is twice as long", first+second, false)

	stale := a.claim()
	a.succeeded()
	is("after a success", first, false)
	a.failed(at(time.Minute), at(time.Minute), false, 0.5)
	is("after a success and a failure", time.Minute+first-1, true)
	is("after a first back-off again", time.Minute+first, false)
	fresh := a.claim()
	a.release(stale)
	if is := a.trial; is != fresh {
		t.Error("the claim of before the success has ended the one of after it")
	}
}

// TestSetAsideUnreachable: a handshake resets an endpoint that could not be reached,
// and no other. If there is a watch, it is the first to reach the endpoint.
func TestSetAsideUnreachable(t *testing.T) {
	now := time.Unix(1000, 0)
	var a setAside
	a.failed(now, now, false, 0)
	a.reached()
	if !a.isAside(now, true) {
		t.Error("a handshake has answered for a missing agent")
	}
	a.failed(now, now, true, 0)
	later := now.Add(time.Hour)
	if !a.isAside(later, true) || a.isAside(later, false) {
		t.Error("an unreachable endpoint is left to its watch, and without one to the next dial")
	}
	a.failed(now, now, false, 0)
	if !a.unreachable {
		t.Error("a dial that failed later has made an unreachable endpoint reachable")
	}
	a.reached()
	if a.isAside(now, true) {
		t.Error("still set aside after a handshake")
	}
}

// TestBest: rank decides first, then load or the end of the back-off.
func TestBest(t *testing.T) {
	now := time.Unix(1000, 0)
	good := func(load int64) candidate { return candidate{load: load} }
	aside := func(d time.Duration) candidate { return candidate{rank: rankAside, until: now.Add(d)} }
	dead := func(d time.Duration) candidate { return candidate{rank: rankUnreachable, until: now.Add(d)} }
	for _, tc := range []struct {
		name       string
		candidates []candidate
		want       []int // for a random number that is low, medium, high
	}{
		{"none", nil, []int{-1, -1, -1}},
		{"one, set aside", []candidate{dead(time.Hour)}, []int{0, 0, 0}},
		{"least load", []candidate{good(3), good(1), good(2)}, []int{1, 1, 1}},
		{"equal load", []candidate{good(1), good(2), good(1), good(1)}, []int{0, 2, 3}},
		{"waited for, the less loaded", []candidate{{rank: rankSuspect, load: 2}, {rank: rankSuspect, load: 1}}, []int{1, 1, 1}},
		{"good before waited for before set aside", []candidate{aside(0), {rank: rankSuspect}, good(9)}, []int{2, 2, 2}},
		{"waited for before set aside", []candidate{aside(0), {rank: rankSuspect, load: 9}}, []int{1, 1, 1}},
		{"loaded before set aside", []candidate{aside(0), good(1e6), dead(0)}, []int{1, 1, 1}},
		{"set aside before unreachable", []candidate{dead(0), aside(time.Hour)}, []int{1, 1, 1}},
		{"the earlier before the later", []candidate{aside(3), aside(2), aside(2)}, []int{1, 2, 2}},
	} {
		var got []int
		for _, random := range []float64{0, 0.5, 0.999} {
			got = append(got, best(tc.candidates, random))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.name, diff)
		}
	}
}

// TestVerdict: what the end of a dial says about the endpoint.
func TestVerdict(t *testing.T) {
	elsewhere := func(r tunnel.Reason) *tunnel.Error { return &tunnel.Error{Reason: r, Fault: tunnel.FaultServer} }
	for _, tc := range []struct {
		name  string
		err   *tunnel.Error
		early bool
		want  verdict
	}{
		{"no agent", elsewhere(tunnel.ReasonNoAgent), false, failed},
		{"silence", elsewhere(tunnel.ReasonTimeout), false, failed},
		{"unreachable", elsewhere(tunnel.ReasonServerUnreachable), false, failed},
		{"garbage", &tunnel.Error{Reason: tunnel.ReasonProtocol}, false, failed},
		{"the app gave up after long", &tunnel.Error{Reason: tunnel.ReasonCancelled}, false, failed},
		{"the app gave up at once", &tunnel.Error{Reason: tunnel.ReasonCancelled}, true, inconclusive},
		{"the budget ended at once", elsewhere(tunnel.ReasonTimeout), true, inconclusive},
		{"success", nil, false, answered},
		{"success at the last moment", nil, true, answered},
		{"target refused", &tunnel.Error{Reason: tunnel.ReasonRefused}, false, answered},
		{"target silent", &tunnel.Error{Reason: tunnel.ReasonTimeout}, false, answered},
		{"target unreachable", &tunnel.Error{Reason: tunnel.ReasonUnreachable}, false, answered},
	} {
		if got := verdictOn(tc.err, tc.early); got != tc.want {
			t.Errorf("%s: verdict %d, want %d", tc.name, got, tc.want)
		}
	}
}

// TestAttempts: callers share an attempt that is under way, even if some give up. A
// failure holds for a while.
func TestAttempts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var background sync.WaitGroup
		began := 0
		result := &tunnel.Error{Reason: tunnel.ReasonServerUnreachable}
		a := &attempts{background: &background, pause: checkPause, run: func() *tunnel.Error {
			began++
			time.Sleep(time.Second)
			return result
		}}
		start := time.Now()
		for range 10 {
			go a.begin()
		}
		synctest.Wait()
		if !a.running() || began != 1 {
			t.Errorf("%d attempts for 10 who ask at once, want one", began)
		}
		<-a.begin().done
		if got := time.Since(start); got != time.Second || a.running() {
			t.Errorf("it took %v, want 1s", got)
		}
		time.Sleep(checkPause - time.Nanosecond)
		if got := a.begin(); got.err != result || began != 1 {
			t.Error("a failure did not answer for its pause")
		}
		time.Sleep(time.Nanosecond)
		result = nil
		<-a.begin().done
		if began != 2 {
			t.Errorf("%d attempts after the pause, want a second", began)
		}
		a.beginAfter(time.Second)
		if a.running() {
			t.Error("a success that is younger than a second was not good enough")
		}
		a.begin()
		if !a.running() {
			t.Error("a success answered for who wants to know now")
		}
		background.Wait()
	})
}
