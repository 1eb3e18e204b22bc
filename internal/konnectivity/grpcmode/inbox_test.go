// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"strings"
	"testing"
)

// TestInbox: all bytes come out in order, in as few pieces as possible, and an empty
// inbox holds nothing.
func TestInbox(t *testing.T) {
	for _, tc := range []struct {
		name string
		puts []int
		want []int
	}{
		{"little", []int{1}, []int{1}},
		{"little by little", []int{1, 2, 3}, []int{6}},
		{"an agent's packet", []int{smallSegment}, []int{smallSegment}},
		{"two of them", []int{smallSegment, smallSegment}, []int{2 * smallSegment}},
		{"little, and a packet", []int{1, smallSegment}, []int{1 + smallSegment}},
		{"as much as fits", []int{largeSegment}, []int{largeSegment}},
		{"one more", []int{largeSegment, 1}, []int{largeSegment, 1}},
		{"a packet that spans two", []int{largeSegment - 1, 2}, []int{largeSegment, 1}},
		{"a packet that spans many", []int{10, 3 * largeSegment}, []int{largeSegment, largeSegment, largeSegment, 10}},
		{"many packets", []int{5000, 5000, 5000, 5000, 5000, 5000, 5000}, []int{7 * 5000}},
		{"more of them than fit", []int{50_000, 50_000, 50_000}, []int{largeSegment, 3*50_000 - largeSegment}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var pool segments
			var b inbox
			for range 2 { // the second time with used segments
				put := 0
				for _, n := range tc.puts {
					b.put(&pool, []byte(text(put, n)), n+1)
					put += n
				}
				var got strings.Builder
				var sizes []int
				cost := 0
				for b.first != nil {
					s := b.take()
					got.Write(s.data)
					sizes = append(sizes, len(s.data))
					cost += s.cost
					pool.put(s)
				}
				if got.String() != text(0, put) || b.bytes != 0 || b.last != nil {
					t.Errorf("%d bytes came out, or other ones than the %d that went in; %d are left", got.Len(), put, b.bytes)
				}
				if want := put + len(tc.puts); cost != want {
					t.Errorf("a cost of %d, want %d", cost, want)
				}
				if len(sizes) != len(tc.want) {
					t.Errorf("in pieces of %d, want %d", sizes, tc.want)
				}
				for i := range min(len(sizes), len(tc.want)) {
					if sizes[i] != tc.want[i] {
						t.Errorf("in pieces of %d, want %d", sizes, tc.want)
					}
				}
			}
		})
	}
}

// TestInboxHoldsWhatItNeeds: few bytes take a small segment, even if many came before
// the last time.
func TestInboxHoldsWhatItNeeds(t *testing.T) {
	var pool segments
	var b inbox
	for i, step := range []struct{ bytes, capacity int }{
		{1, smallSegment},
		{smallSegment, smallSegment},
		{smallSegment + 1, mediumSegment},
		{mediumSegment + 1, largeSegment},
		{1, largeSegment}, // after many bytes, many are expected
		{1, smallSegment},
	} {
		b.put(&pool, make([]byte, step.bytes), 0)
		s := b.take()
		if got := cap(s.data); got != step.capacity {
			t.Errorf("step %d: %d bytes are in a segment of %d, want one of %d", i, step.bytes, got, step.capacity)
		}
		pool.put(s)
	}
}
