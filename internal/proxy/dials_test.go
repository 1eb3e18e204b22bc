// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// shootTarget returns one of many destinations.
func shootTarget(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}), 443)
}

// granted returns the indexes of the waiters that have got their place since the last
// call with seen.
func granted(waiters []*waiter, seen map[int]bool) []int {
	var now []int
	for i, w := range waiters {
		select {
		case <-w.ready:
			if !seen[i] {
				seen[i] = true
				now = append(now, i)
			}
		default:
		}
	}
	return now
}

func TestADestinationHoldsAQuarterOfTheDialsAtMost(t *testing.T) {
	for most, share := range map[int]int{1: 1, 2: 1, 3: 1, 4: 1, 7: 1, 8: 2, 256: 64} {
		d := newDialLimit(most, options.SettingNames().MaxDials)
		var waiters []*waiter
		for range most + 1 {
			waiters = append(waiters, d.enqueue(shootTarget(0)))
		}
		if got := len(granted(waiters, map[int]bool{})); got != share {
			t.Errorf("of --max-dials %d one destination gets %d, want %d", most, got, share)
		}
		if other := d.enqueue(shootTarget(1)); most > 1 && len(granted([]*waiter{other}, map[int]bool{})) != 1 {
			t.Errorf("with --max-dials %d a single destination starves the others", most)
		}
	}
}

func TestFreePlacesGoRoundTheDestinations(t *testing.T) {
	const a, b, c = 0, 1, 2
	d := newDialLimit(1, options.SettingNames().MaxDials)
	d.enqueue(shootTarget(9)) // holds the only place
	var waiters []*waiter
	arrivals := []int{a, a, a, b, c, b}
	for _, dst := range arrivals {
		waiters = append(waiters, d.enqueue(shootTarget(dst)))
	}
	seen := map[int]bool{}
	if early := granted(waiters, seen); early != nil {
		t.Fatalf("places were granted that nobody has: %v", early)
	}
	holder := shootTarget(9)
	var order []int
	for range arrivals {
		d.release(holder)
		next := granted(waiters, seen)
		if len(next) != 1 {
			t.Fatalf("one place became free, granted were %v", next)
		}
		order = append(order, next[0])
		holder = shootTarget(arrivals[next[0]])
	}
	// By index into arrivals: a's first, b's first, c's, a's second, b's second, a's
	// third.
	if diff := cmp.Diff([]int{0, 3, 4, 1, 5, 2}, order); diff != "" {
		t.Errorf("the order of the places is not fair between destinations (-want +got):\n%s", diff)
	}
}

func TestADialThatGivesUpLeavesTheQueue(t *testing.T) {
	d := newDialLimit(4, options.SettingNames().MaxDials)
	target := shootTarget(0)
	d.enqueue(target)
	quitter, patient := d.enqueue(target), d.enqueue(target)
	if granted, full := d.stopWaiting(quitter); granted || full == nil {
		t.Fatalf("there was no place, but leaving says %t, %v", granted, full)
	}
	d.release(target)
	select {
	case <-patient.ready:
	default:
		t.Error("the place went to one that had left")
	}
	if granted, _ := d.stopWaiting(patient); !granted {
		t.Error("a place that nobody will release is lost")
	}
	d.release(target)
	if len(d.destinations) != 0 || d.roundRobin.Len() != 0 || d.inFlight != 0 {
		t.Errorf("nobody is left, but %d destinations, %d turns and %d dials are remembered", len(d.destinations), d.roundRobin.Len(), d.inFlight)
	}
}

func TestAfterCloseNoDialGetsAPlace(t *testing.T) {
	d := newDialLimit(1, options.SettingNames().MaxDials)
	first, second := d.enqueue(shootTarget(0)), d.enqueue(shootTarget(1))
	d.close()
	d.release(first.destination)
	if got := granted([]*waiter{second, d.enqueue(shootTarget(2))}, map[int]bool{}); len(got) != 0 {
		t.Errorf("waiters %v got a place after the end", got)
	}
}

func TestWhatFindsNoPlaceSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fill   []netip.AddrPort
		cancel bool
		reason tunnel.Reason
		says   string
	}{
		{name: "the destination's share is taken", fill: []netip.AddrPort{shootTarget(0)}, reason: ReasonMaxDials, says: "look at the target, which does not answer"},
		{name: "all are taken", fill: []netip.AddrPort{shootTarget(1), shootTarget(2), shootTarget(3), shootTarget(4)}, reason: ReasonMaxDials, says: "raise --max-dials"},
		{name: "the app gave up", fill: []netip.AddrPort{shootTarget(0)}, cancel: true, reason: tunnel.ReasonCancelled, says: "while waiting"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDialLimit(4, options.SettingNames().MaxDials)
				for _, dst := range tt.fill {
					d.enqueue(dst)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
				defer cancel()
				if tt.cancel {
					time.AfterFunc(time.Second, cancel)
				}
				err := d.acquire(ctx, shootTarget(0))
				if tunnel.ReasonOf(err) != tt.reason || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("the dial ended with %v (%s), want %s and a sentence with %q", err, tunnel.ReasonOf(err), tt.reason, tt.says)
				}
			})
		})
	}
}

// dialCounter counts the dials of the property test.
type dialCounter struct {
	t    *testing.T
	d    *dialLimit
	all  int
	at   map[netip.AddrPort]int
	made int
}

// begin counts one more dial in flight, and end one less. Other goroutines of the
// bubble run meanwhile, but d.mu makes the counts consistent.
func (c *dialCounter) begin(dst netip.AddrPort) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.all++
	c.at[dst]++
	c.made++
	if c.all > c.d.max || c.at[dst] > c.d.share {
		c.t.Errorf("%d dials in flight, %d of them to %s: the bounds are %d and %d", c.all, c.at[dst], dst, c.d.max, c.d.share)
	}
}

func (c *dialCounter) end(dst netip.AddrPort) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.all--
	c.at[dst]--
}

// settled checks that no dial waits that could have a place.
func (c *dialCounter) settled() {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if c.all != c.d.inFlight {
		c.t.Errorf("%d dials are in flight, %d places are taken", c.all, c.d.inFlight)
	}
	for dst, to := range c.d.destinations {
		if to.waiting.Len() > 0 && to.held < c.d.share && c.d.inFlight < c.d.max {
			c.t.Errorf("a dial to %s waits although there is a place: %d of %d are taken, %d of its %d", dst, c.d.inFlight, c.d.max, to.held, c.d.share)
		}
	}
}

// TestDialsKeepTheirBoundsWhateverHappens: the limits are kept, no dial waits while a
// place is free, and nothing is left at the end.
func TestDialsKeepTheirBoundsWhateverHappens(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 0))
				d := newDialLimit(1+random.IntN(20), options.SettingNames().MaxDials)
				c := &dialCounter{t: t, d: d, at: map[netip.AddrPort]int{}}
				for range 300 {
					dst := shootTarget(random.IntN(1 + random.IntN(12)))
					arrives, patience, takes := time.Duration(random.IntN(2000)), time.Duration(1+random.IntN(500)), time.Duration(random.IntN(300))
					go func() {
						time.Sleep(arrives * time.Millisecond)
						ctx, cancel := context.WithTimeout(t.Context(), patience*time.Millisecond)
						defer cancel()
						if err := d.acquire(ctx, dst); err != nil {
							if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
								t.Errorf("a dial gave up before its time: %v", err)
							}
							return
						}
						c.begin(dst)
						time.Sleep(takes * time.Millisecond)
						c.end(dst)
						d.release(dst)
					}()
				}
				for range 3000 {
					time.Sleep(time.Millisecond)
					synctest.Wait()
					c.settled()
				}
				if len(d.destinations) != 0 || d.roundRobin.Len() != 0 || d.inFlight != 0 || c.made == 0 {
					t.Errorf("after %d dials %d destinations, %d turns and %d places are not given back", c.made, len(d.destinations), d.roundRobin.Len(), d.inFlight)
				}
			})
		})
	}
}

// A dial does not queue if a place is free and no dial waits. The limits are the same
// as for dials that wait.
func TestPlacesAreTakenWithoutAQueue(t *testing.T) {
	d := newDialLimit(8, options.SettingNames().MaxDials)
	a, b := shootTarget(0), shootTarget(1)
	if got := []bool{d.tryAcquire(a), d.tryAcquire(a), d.tryAcquire(a), d.tryAcquire(b)}; !slices.Equal(got, []bool{true, true, false, true}) {
		t.Errorf("two of a's dials and one of b's were to get a place, not %v", got)
	}
	waiting := d.enqueue(a)
	d.release(a)
	if len(granted([]*waiter{waiting}, map[int]bool{})) != 1 || d.tryAcquire(a) {
		t.Error("a place went to one who had not waited for it")
	}
	d.release(a)
	d.release(a)
	d.release(b)
	d.close()
	if d.tryAcquire(b) {
		t.Error("a place was handed out after the end")
	}
	if len(d.destinations) != 0 || d.inFlight != 0 {
		t.Errorf("nobody is left, but %d destinations and %d dials are remembered", len(d.destinations), d.inFlight)
	}
}
