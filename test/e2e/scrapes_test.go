// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scrape is one scrape of a target, as Prometheus recorded it in the series "up".
type scrape struct {
	at time.Time
	up bool
}

// gap is a time without a successful scrape, between two that succeeded.
type gap struct{ from, to time.Time }

// almost is the part of the scrape interval by which the time between two scrapes may be
// shorter than their schedule says, because the earlier one was late.
const almost = 0.1

// gaps returns the times between successful scrapes, of one replica or of several together.
func gaps(scrapes []scrape) []gap {
	var times []time.Time
	for _, s := range scrapes {
		if s.up {
			times = append(times, s.at)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	var all []gap
	for i := 1; i < len(times); i++ {
		all = append(all, gap{times[i-1], times[i]})
	}
	return all
}

// lost returns the gaps in which a scrape is missing: those of two intervals or more.
func lost(scrapes []scrape, interval time.Duration) []gap {
	limit := 2*interval - time.Duration(almost*float64(interval))
	return slices.DeleteFunc(gaps(scrapes), func(g gap) bool { return g.to.Sub(g.from) < limit })
}

// longestGap returns the longest time between two successful scrapes.
func longestGap(scrapes []scrape) (longest time.Duration) {
	for _, g := range gaps(scrapes) {
		longest = max(longest, g.to.Sub(g.from))
	}
	return longest
}

// failed returns how many scrapes did not succeed.
func failed(scrapes []scrape) (n int) {
	for _, s := range scrapes {
		if !s.up {
			n++
		}
	}
	return n
}

// TestLostScrapesAreFound: a scrape that is missing or has failed is found, and one that is
// late is not taken for it. Times are in tenths of the interval.
func TestLostScrapesAreFound(t *testing.T) {
	const interval = 10
	at := func(tenths int) time.Time { return time.UnixMilli(int64(tenths)) }
	for _, tc := range []struct {
		name     string
		up, down []int
		want     [][2]int
	}{
		{"one is missing", []int{0, 10, 30, 40}, nil, [][2]int{{10, 30}}},
		{"one has failed", []int{0, 10, 30, 40}, []int{20}, [][2]int{{10, 30}}},
		{"one is missing after one that was late", []int{0, 11, 30}, nil, [][2]int{{11, 30}}},
		{"two are missing", []int{0, 40, 50, 80}, []int{10, 20}, [][2]int{{0, 40}, {50, 80}}},
		{"of two replicas, both lose one", []int{0, 5, 10, 30, 35}, []int{15, 20, 25}, [][2]int{{10, 30}}},
		{"none", []int{0, 10, 20, 30}, nil, nil},
		{"one is late", []int{0, 10, 28, 30}, nil, nil},
		{"of two replicas, one loses one", []int{0, 5, 15, 20, 25}, []int{10}, nil},
		{"of two replicas, one is replaced", []int{0, 5, 10, 20, 30, 40, 45}, nil, nil},
		{"in another order", []int{30, 0, 20, 10}, nil, nil},
	} {
		var scrapes []scrape
		for _, tenths := range tc.up {
			scrapes = append(scrapes, scrape{at(tenths), true})
		}
		for _, tenths := range tc.down {
			scrapes = append(scrapes, scrape{at(tenths), false})
		}
		var got [][2]int
		for _, g := range lost(scrapes, interval*time.Millisecond) {
			got = append(got, [2]int{int(g.from.UnixMilli()), int(g.to.UnixMilli())})
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		if failed(scrapes) != len(tc.down) {
			t.Errorf("%s: %d failed, want %d", tc.name, failed(scrapes), len(tc.down))
		}
	}
}
