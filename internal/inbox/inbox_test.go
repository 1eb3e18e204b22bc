// SPDX-License-Identifier: Apache-2.0

package inbox

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
		{"as much as fits", []int{Large}, []int{Large}},
		{"one more", []int{Large, 1}, []int{Large, 1}},
		{"a packet that spans two", []int{Large - 1, 2}, []int{Large, 1}},
		{"a packet that spans many", []int{10, 3 * Large}, []int{Large, Large, Large, 10}},
		{"many packets", []int{5000, 5000, 5000, 5000, 5000, 5000, 5000}, []int{7 * 5000}},
		{"more of them than fit", []int{50_000, 50_000, 50_000}, []int{Large, 3*50_000 - Large}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var pool Pool
			var b Inbox
			for range 2 { // the second time with used segments
				put := 0
				for _, n := range tc.puts {
					b.Put(&pool, []byte(text(put, n)), n+1)
					put += n
				}
				var got strings.Builder
				var sizes []int
				cost := 0
				for b.first != nil {
					s := b.Take()
					got.Write(s.Data)
					sizes = append(sizes, len(s.Data))
					cost += s.Cost
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
	var pool Pool
	var b Inbox
	for i, step := range []struct{ bytes, capacity int }{
		{1, smallSegment},
		{smallSegment, smallSegment},
		{smallSegment + 1, mediumSegment},
		{mediumSegment + 1, Large},
		{1, Large}, // after many bytes, many are expected
		{1, smallSegment},
	} {
		b.Put(&pool, make([]byte, step.bytes), 0)
		s := b.Take()
		if got := cap(s.Data); got != step.capacity {
			t.Errorf("step %d: %d bytes are in a segment of %d, want one of %d", i, step.bytes, got, step.capacity)
		}
		pool.put(s)
	}
}

// text returns n bytes of varying text, from the byte from on.
func text(from, n int) string {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte((from + i) * 131 >> 3)
	}
	return string(p)
}
