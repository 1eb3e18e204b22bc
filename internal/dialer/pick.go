// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"cmp"
	"slices"
	"time"
)

// rank is how far behind a dial tries an endpoint.
type rank int

const (
	rankGood        rank = iota
	rankSuspect          // dials wait for it, and none was answered for a while
	rankAside            // it did not serve dials; they may have to wait for nothing
	rankUnreachable      // there is not even a connection to it
)

// candidate is what counts when a dial chooses among endpoints.
type candidate struct {
	rank  rank
	load  int64     // connections and dials; counts where nothing is set aside
	until time.Time // the end of the back-off; counts where something is
}

// best returns the index of the candidate to try, or -1 where there is none:
// the least loaded of those in good standing, otherwise the one whose back-off
// ends first. random, in [0, 1), decides among equals.
func best(candidates []candidate, random float64) int {
	var equal []int
	for i, c := range candidates {
		order := -1
		if len(equal) > 0 {
			order = c.compare(candidates[equal[0]])
		}
		if order < 0 {
			equal = equal[:0]
		}
		if order <= 0 {
			equal = append(equal, i)
		}
	}
	if len(equal) == 0 {
		return -1
	}
	return equal[int(random*float64(len(equal)))]
}

// compare orders by what is tried first.
func (a candidate) compare(b candidate) int {
	if a.rank != b.rank {
		return cmp.Compare(a.rank, b.rank)
	}
	if a.rank <= rankSuspect {
		return cmp.Compare(a.load, b.load)
	}
	return a.until.Compare(b.until)
}

// pick chooses the endpoint for a dial that has tried others, and counts the
// dial as its load. It returns nil where none is left, and what the endpoint's
// release wants.
func (d *Dialer) pick(tried []*endpoint) (*endpoint, int) {
	d.picking.Lock()
	defer d.picking.Unlock()
	var left []*endpoint
	var candidates []candidate
	for _, s := range d.servers {
		for _, e := range s.known() {
			if !slices.Contains(tried, e) {
				left = append(left, e)
				candidates = append(candidates, e.candidate(time.Now()))
			}
		}
	}
	i := best(candidates, d.random())
	if i < 0 {
		return nil, 0
	}
	return left[i], left[i].claim()
}
