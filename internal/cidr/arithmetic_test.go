// SPDX-License-Identifier: Apache-2.0

package cidr

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSubtract(t *testing.T) {
	for _, tt := range []struct {
		name                string
		from, without, want []string
	}{
		{"nothing from nothing", nil, nil, nil},
		{"nothing", []string{"10.0.0.0/8"}, nil, []string{"10.0.0.0/8"}},
		{"the other family", []string{"10.0.0.0/8"}, []string{"::/0"}, []string{"10.0.0.0/8"}},
		{"all", []string{"10.0.0.0/8"}, []string{"0.0.0.0/0"}, nil},
		{"itself", []string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}, nil},
		{"both halves", []string{"10.0.0.0/8"}, []string{"10.0.0.0/9", "10.128.0.0/9"}, nil},
		{"a half", []string{"10.0.0.0/8"}, []string{"10.0.0.0/9"}, []string{"10.128.0.0/9"}},
		{"a hole", []string{"10.0.0.0/29"}, []string{"10.0.0.3/32"}, []string{"10.0.0.0/31", "10.0.0.2/32", "10.0.0.4/30"}},
		{"the last address of IPv6", []string{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126"}, []string{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"}, []string{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/127", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/128"}},
		{"parts are merged again", []string{"10.0.0.0/9", "10.128.0.0/9"}, []string{"11.0.0.0/8"}, []string{"10.0.0.0/8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, text(Subtract(parseAll(tt.from), parseAll(tt.without)))); diff != "" {
				t.Errorf("the difference is wrong (-want +got):\n%s", diff)
			}
		})
	}
}

func parseAll(texts []string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// universe is small enough to test each of its addresses.
const universe = 256

// members reports for each address of the universe whether a prefix contains it.
func members(prefixes []netip.Prefix) (in [universe]bool) {
	for i := range in {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		in[i] = slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return in
}

// decode returns prefixes of the universe, each from two bytes.
func decode(data []byte) []netip.Prefix {
	var all []netip.Prefix
	for ; len(data) >= 2; data = data[2:] {
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, data[0]}), 24+int(data[1]%9)).Masked())
	}
	return all
}

// checkArithmetic compares Aggregate and Subtract with the naive model.
func checkArithmetic(t *testing.T, from, without []netip.Prefix) {
	t.Helper()
	aggregated := Aggregate(from)
	if members(aggregated) != members(from) {
		t.Fatalf("Aggregate(%v) = %v has other addresses", from, aggregated)
	}
	checkCanonical(t, aggregated)

	left := Subtract(from, without)
	checkCanonical(t, left)
	in, out, got := members(from), members(without), members(left)
	for i := range got {
		if got[i] != (in[i] && !out[i]) {
			t.Fatalf("Subtract(%v, %v) = %v is wrong about 10.0.0.%d", from, without, left, i)
		}
	}
}

// checkCanonical fails unless the prefixes are sorted and disjoint, and no two are the halves
// of one.
func checkCanonical(t *testing.T, prefixes []netip.Prefix) {
	t.Helper()
	for i := 1; i < len(prefixes); i++ {
		a, b := prefixes[i-1], prefixes[i]
		if _, joined := join(a, b); compare(a, b) >= 0 || a.Overlaps(b) || joined {
			t.Fatalf("%v is not canonical at %v, %v", prefixes, a, b)
		}
	}
}

func TestArithmeticAgreesWithANaiveModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		data := make([]byte, 2*random.IntN(12))
		more := make([]byte, 2*random.IntN(12))
		for i := range data {
			data[i] = byte(random.UintN(256))
		}
		for i := range more {
			more[i] = byte(random.UintN(256))
		}
		checkArithmetic(t, decode(data), decode(more))
	}
}

func FuzzArithmetic(f *testing.F) {
	f.Add([]byte{0, 0}, []byte{0, 1, 128, 1})
	f.Add([]byte{0, 1, 128, 1}, []byte{3, 8})
	f.Fuzz(func(t *testing.T, from, without []byte) {
		if len(from)+len(without) > 128 {
			t.Skip("longer lists show nothing new")
		}
		checkArithmetic(t, decode(from), decode(without))
	})
}
