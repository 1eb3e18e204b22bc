// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"cmp"
	"slices"
	"time"
)

// rank is the place of an endpoint in the order in which a dial tries them.
type rank int

const (
	rankGood        rank = iota
	rankSuspect          // dials wait for it, and none was answered for a while
	rankAside            // it did not serve dials, and may let further ones wait in vain
	rankUnreachable      // it could not be connected to
)

// candidate is what a dial has to know of an endpoint to pick one.
type candidate struct {
	rank  rank
	load  int64     // connections and dials; decides between endpoints in good standing
	until time.Time // the end of the back-off; decides between others
}

// best returns the index of the candidate to try, or -1 if there is none. It is the
// least loaded of those in good standing. If there is none of these, it is the one
// whose back-off ends first. random, in [0, 1), decides between equal ones.
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

// compare returns a negative number if a is tried before b, and a positive one if
// after.
func (a candidate) compare(b candidate) int {
	if a.rank != b.rank {
		return cmp.Compare(a.rank, b.rank)
	}
	if a.rank <= rankSuspect {
		return cmp.Compare(a.load, b.load)
	}
	return a.until.Compare(b.until)
}

// pick returns the best endpoint that is not in tried, and counts the dial as its load.
// The second result is the claim for endpoint.dial. If no endpoint is left, pick
// returns nil.
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
