// SPDX-License-Identifier: Apache-2.0

package cidr

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entries parses "pod=10.0.0.0/8,fd00::/48 node=…" into entries of
// --shoot-pod-cidr and so on; "exclude" stands for --exclude-cidr.
func entries(t testing.TB, spec string) []Entry {
	t.Helper()
	var all []Entry
	for _, field := range strings.Fields(spec) {
		flag, values, _ := strings.Cut(field, "=")
		name := "--shoot-" + flag + "-cidr"
		if flag == "exclude" {
			name = "--exclude-cidr"
		}
		parsed, err := Parse(name, strings.Split(values, ","))
		if err != nil {
			t.Fatalf("the test's own CIDRs %q: %v", field, err)
		}
		all = append(all, parsed...)
	}
	return all
}

func TestParseRefusesWithTheSentenceThatTellsWhatToWrite(t *testing.T) {
	for _, tt := range []struct {
		name, value, want string
	}{
		{"nothing", "", `--shoot-pod-cidr has an empty element: write CIDRs separated by single commas, such as 10.0.0.0/8,fd00::/48`},
		{"stray comma", "10.0.0.0/8,", `--shoot-pod-cidr "10.0.0.0/8," has an empty element: write CIDRs separated by single commas, such as 10.0.0.0/8,fd00::/48`},
		{"host bits", "10.0.0.1/8", `--shoot-pod-cidr "10.0.0.1/8" has host bits set: write 10.0.0.0/8`},
		{"IPv6 host bits", "fd00::1/48", `--shoot-pod-cidr "fd00::1/48" has host bits set: write fd00::/48`},
		{"second element", "10.0.0.0/8, 11.0.0.1/8", `--shoot-pod-cidr "11.0.0.1/8" has host bits set: write 11.0.0.0/8`},
		{"an address", "10.0.0.1", `--shoot-pod-cidr "10.0.0.1" is an address, not a CIDR: write 10.0.0.1/32 for this one address`},
		{"an IPv6 address", "fd00::1", `--shoot-pod-cidr "fd00::1" is an address, not a CIDR: write fd00::1/128 for this one address`},
		{"a zone", "fe80::1%eth0", `--shoot-pod-cidr "fe80::1%eth0" has a zone, which no CIDR can have: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"a zone and a length", "fe80::%eth0/64", `--shoot-pod-cidr "fe80::%eth0/64" has a zone, which no CIDR can have: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"host bits, and too short without them", "10.0.0.0/4", `--shoot-pod-cidr "10.0.0.0/4" has host bits set: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"IPv6 host bits, and too short without them", "fd00::/5", `--shoot-pod-cidr "fd00::/5" has host bits set: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"host bits in loopback", "127.0.0.1/8", `--shoot-pod-cidr "127.0.0.1/8" has host bits set: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"an address of loopback", "::1", `--shoot-pod-cidr "::1" is an address, not a CIDR: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"an IPv4 address as IPv6", "::ffff:10.0.0.1", `--shoot-pod-cidr "::ffff:10.0.0.1" is an address, not a CIDR: write 10.0.0.1/32 for this one address`},
		{"half of IPv4 as IPv6", "::ffff:10.0.0.0/97", `--shoot-pod-cidr "::ffff:10.0.0.0/97" is an IPv4 range written as IPv6: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"a word", "pods", `--shoot-pod-cidr "pods" is not a CIDR: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"a netmask", "10.0.0.0/255.0.0.0", `--shoot-pod-cidr "10.0.0.0/255.0.0.0" is not a CIDR: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"too long", "10.0.0.0/33", `--shoot-pod-cidr "10.0.0.0/33" is not a CIDR: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"leading zero", "010.0.0.0/8", `--shoot-pod-cidr "010.0.0.0/8" is not a CIDR: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"an option for iptables", "10.0.0.0/8 -j ACCEPT", `--shoot-pod-cidr "10.0.0.0/8 -j ACCEPT" is not a CIDR: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"two lines", "10.0.0.0/8\n-A", `--shoot-pod-cidr "10.0.0.0/8\n-A" is not a CIDR: write an address and a length, such as 10.0.0.0/8 or fd00::/48`},
		{"IPv4 as IPv6", "::ffff:10.0.0.0/104", `--shoot-pod-cidr "::ffff:10.0.0.0/104" is an IPv4 range written as IPv6: write 10.0.0.0/8`},
		{"more than all IPv4 as IPv6", "::ffff:0:0/90", `--shoot-pod-cidr "::ffff:0:0/90" is an IPv4 range written as IPv6: write the IPv4 range itself`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("--shoot-pod-cidr", strings.Split(tt.value, ","))
			checkSentence(t, err, tt.want)
			checkAdvice(t, err)
		})
	}
}

// advised matches CIDRs in the advice of a refusal.
var advised = regexp.MustCompile(`(?:write|such as|or) ([0-9a-f.:]+/[0-9]+)`)

// checkAdvice fails if what a refusal advises to write is refused too.
func checkAdvice(t *testing.T, refusal error) {
	t.Helper()
	_, advice, _ := strings.Cut(refusal.Error(), ": write ")
	for _, match := range advised.FindAllStringSubmatch("write "+advice, -1) {
		entries, err := Parse("--shoot-pod-cidr", []string{match[1]})
		if err == nil {
			_, err = New(entries, nil)
		}
		if err != nil {
			t.Errorf("%v, and that is refused too: %v", refusal, err)
		}
	}
}

func TestParseKeepsWhatTheUserWrote(t *testing.T) {
	got, err := Parse("--exclude-cidr", []string{" 10.0.0.0/8", "FD00:0::/48 "})
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{List: "--exclude-cidr", Value: "10.0.0.0/8", Prefix: netip.MustParsePrefix("10.0.0.0/8")},
		{List: "--exclude-cidr", Value: "FD00:0::/48", Prefix: netip.MustParsePrefix("fd00::/48")},
	}
	if diff := cmp.Diff(want, got, comparePrefixes); diff != "" {
		t.Errorf("a sentence about an entry would misquote the user (-want +got):\n%s", diff)
	}
}

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func TestNewRefusesWhatNoShootCanBe(t *testing.T) {
	all8s := func() string { // every IPv4 address, one /8 at a time
		var values []string
		for i := range 256 {
			values = append(values, fmt.Sprintf("%d.0.0.0/8", i))
		}
		return "pod=" + strings.Join(values, ",")
	}
	for _, tt := range []struct {
		name, shoot, exclude, want string
	}{
		{"default route", "pod=0.0.0.0/0", "", `--shoot-pod-cidr "0.0.0.0/0" is 0.0.0.0/0, which is shorter than the /8 allowed for IPv4 and would capture the default route: list only the shoot's own ranges`},
		{"IPv6 default route", "node=::/0", "", `--shoot-node-cidr "::/0" is ::/0, which is shorter than the /16 allowed for IPv6 and would capture the default route: list only the shoot's own ranges`},
		{
			"default route in two halves", "pod=0.0.0.0/1 node=128.0.0.0/1", "",
			`--shoot-pod-cidr "0.0.0.0/1" together with --shoot-node-cidr "128.0.0.0/1" makes 0.0.0.0/0, which is shorter than the /8 allowed for IPv4 and would capture the default route: list only the shoot's own ranges`,
		},
		{
			"IPv6 default route in two halves", "pod=8000::/1,::/1", "",
			`--shoot-pod-cidr "8000::/1" together with --shoot-pod-cidr "::/1" makes ::/0, which is shorter than the /16 allowed for IPv6 and would capture the default route: list only the shoot's own ranges`,
		},
		{
			"default route in 256 parts", all8s(), "",
			`--shoot-pod-cidr "0.0.0.0/8" together with --shoot-pod-cidr "1.0.0.0/8", --shoot-pod-cidr "2.0.0.0/8", --shoot-pod-cidr "3.0.0.0/8", --shoot-pod-cidr "4.0.0.0/8" and 251 more makes 0.0.0.0/0, which is shorter than the /8 allowed for IPv4 and would capture the default route: list only the shoot's own ranges`,
		},
		{"shorter than /8", "service=10.0.0.0/7", "", `--shoot-service-cidr "10.0.0.0/7" is 10.0.0.0/7, which is shorter than the /8 allowed for IPv4: list only the shoot's own ranges`},
		{
			"shorter than /8 in three parts", "pod=10.0.0.0/8 service=11.0.0.0/9 node=11.128.0.0/9", "",
			`--shoot-pod-cidr "10.0.0.0/8" together with --shoot-service-cidr "11.0.0.0/9" and --shoot-node-cidr "11.128.0.0/9" makes 10.0.0.0/7, which is shorter than the /8 allowed for IPv4: list only the shoot's own ranges`,
		},
		{"shorter than /16", "pod=fc00::/15", "", `--shoot-pod-cidr "fc00::/15" is fc00::/15, which is shorter than the /16 allowed for IPv6: list only the shoot's own ranges`},
		{"an exclusion does not excuse it", "pod=0.0.0.0/0", "exclude=0.0.0.0/1,128.0.0.0/2", `--shoot-pod-cidr "0.0.0.0/0" is 0.0.0.0/0, which is shorter than the /8 allowed for IPv4 and would capture the default route: list only the shoot's own ranges`},
		{"loopback", "pod=127.0.0.0/8", "", `--shoot-pod-cidr "127.0.0.0/8" overlaps loopback addresses (127.0.0.0/8), which no shoot can own: list only the shoot's own ranges`},
		{"a part of loopback", "pod=10.0.0.0/8,127.9.0.0/16", "", `--shoot-pod-cidr "127.9.0.0/16" overlaps loopback addresses (127.0.0.0/8), which no shoot can own: list only the shoot's own ranges`},
		{"IPv6 loopback", "pod=::1/128", "", `--shoot-pod-cidr "::1/128" overlaps the loopback address (::1/128), which no shoot can own: list only the shoot's own ranges`},
		{"link-local", "node=169.254.0.0/16", "", `--shoot-node-cidr "169.254.0.0/16" overlaps link-local addresses (169.254.0.0/16), which no shoot can own: list only the shoot's own ranges`},
		{"around link-local", "node=169.0.0.0/8", "", `--shoot-node-cidr "169.0.0.0/8" overlaps link-local addresses (169.254.0.0/16), which no shoot can own: list only the shoot's own ranges`},
		{"IPv6 link-local", "node=fe80::/64", "", `--shoot-node-cidr "fe80::/64" overlaps link-local addresses (fe80::/10), which no shoot can own: list only the shoot's own ranges`},
		{"multicast", "pod=239.0.0.0/8", "", `--shoot-pod-cidr "239.0.0.0/8" overlaps multicast addresses (224.0.0.0/4), which no shoot can own: list only the shoot's own ranges`},
		{"IPv6 multicast", "pod=ff02::/16", "", `--shoot-pod-cidr "ff02::/16" overlaps multicast addresses (ff00::/8), which no shoot can own: list only the shoot's own ranges`},
		{"unspecified", "pod=0.0.0.0/8", "", `--shoot-pod-cidr "0.0.0.0/8" overlaps unspecified addresses (0.0.0.0/8), which no shoot can own: list only the shoot's own ranges`},
		{"IPv6 unspecified", "pod=::/128", "", `--shoot-pod-cidr "::/128" overlaps the unspecified address (::/128), which no shoot can own: list only the shoot's own ranges`},
		{"around IPv4 as IPv6", "pod=::/32", "", `--shoot-pod-cidr "::/32" overlaps the loopback address (::1/128), which no shoot can own: list only the shoot's own ranges`},
		{"broadcast", "pod=255.255.255.0/24", "", `--shoot-pod-cidr "255.255.255.0/24" overlaps the broadcast address (255.255.255.255/32), which no shoot can own: list only the shoot's own ranges`},
		{"exclusion swallows everything", "pod=10.1.0.0/16", "exclude=10.0.0.0/8", `--exclude-cidr "10.0.0.0/8" leaves nothing of --shoot-pod-cidr "10.1.0.0/16": exclude less, or correct the shoot's CIDRs`},
		{
			"exclusions swallow everything in parts", "pod=10.1.0.0/16 node=fd00::/64", "exclude=10.1.0.0/17,192.0.2.0/24,10.1.128.0/18,10.1.192.0/18,fd00::/48",
			`--exclude-cidr "10.1.0.0/17,10.1.128.0/18,10.1.192.0/18,fd00::/48" leaves nothing of --shoot-pod-cidr "10.1.0.0/16" and --shoot-node-cidr "fd00::/64": exclude less, or correct the shoot's CIDRs`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(entries(t, tt.shoot), entries(t, tt.exclude))
			checkSentence(t, err, tt.want)
		})
	}
}

func TestNewNeedsAShoot(t *testing.T) {
	for _, exclude := range []string{"", "exclude=10.0.0.0/8"} {
		if set, err := New(nil, entries(t, exclude)); !errors.Is(err, ErrNoShoot) || set != nil {
			t.Errorf("without a CIDR of the shoot, excluding %q: %v, error %v; want ErrNoShoot", exclude, set, err)
		}
	}
}

func TestEntriesAreCanonical(t *testing.T) {
	got, err := Entries("Shoot", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/48")})
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{List: "Shoot", Value: "10.0.0.0/8", Prefix: netip.MustParsePrefix("10.0.0.0/8")},
		{List: "Shoot", Value: "fd00::/48", Prefix: netip.MustParsePrefix("fd00::/48")},
	}
	if diff := cmp.Diff(want, got, comparePrefixes); diff != "" {
		t.Errorf("Entries (-want +got):\n%s", diff)
	}
	for _, bad := range []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.1/8"), netip.MustParsePrefix("fd00::1/48")} {
		_, err := Entries("Shoot", []netip.Prefix{bad})
		checkSentence(t, err, fmt.Sprintf("Shoot %q is not a canonical CIDR: use netip.Prefix.Masked", bad))
	}
}

func checkSentence(t *testing.T, err error, want string) {
	t.Helper()
	var bad *Error
	if !errors.As(err, &bad) {
		t.Fatalf("bad input was not refused with an *Error but got %v; want the sentence %s", err, want)
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("the sentence changed (-want +got):\n%s", diff)
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		t.Errorf("the refusal has more than one line: %q", err.Error())
	}
}

func TestSetIsCanonical(t *testing.T) {
	for _, tt := range []struct {
		name, shoot, exclude    string
		wantShoot, wantExcluded []string
		want4, want6            bool
	}{
		{"sorted, IPv4 first", "pod=fd00::/48,10.2.0.0/16 node=10.0.0.0/16", "", []string{"10.0.0.0/16", "10.2.0.0/16", "fd00::/48"}, nil, true, true},
		{"contained and twice", "pod=10.0.0.0/8,10.1.0.0/16 node=10.0.0.0/8", "", []string{"10.0.0.0/8"}, nil, true, false},
		{"halves, again and again", "pod=10.0.64.0/18,10.0.128.0/17,10.0.0.0/18", "", []string{"10.0.0.0/16"}, nil, true, false},
		{"neighbours that are no halves", "pod=10.1.0.0/16,10.2.0.0/16", "", []string{"10.1.0.0/16", "10.2.0.0/16"}, nil, true, false},
		{"exclusion elsewhere is dropped", "pod=10.0.0.0/16", "exclude=10.1.0.0/16,fd00::/48", []string{"10.0.0.0/16"}, nil, true, false},
		{"exclusion around it is kept whole", "pod=10.0.0.0/16 node=10.4.0.0/16", "exclude=10.0.0.0/15", []string{"10.0.0.0/16", "10.4.0.0/16"}, []string{"10.0.0.0/15"}, true, false},
		{"exclusions are aggregated", "pod=10.0.0.0/8", "exclude=10.1.1.0/24,10.1.0.0/24", []string{"10.0.0.0/8"}, []string{"10.1.0.0/23"}, true, false},
		{"one family is excluded as a whole", "pod=10.0.0.0/16,fd00::/64", "exclude=fd00::/48", []string{"10.0.0.0/16", "fd00::/64"}, []string{"fd00::/48"}, true, false},
		{"and the other one", "pod=10.0.0.0/16,fd00::/64", "exclude=10.0.0.0/17,10.0.128.0/17", []string{"10.0.0.0/16", "fd00::/64"}, []string{"10.0.0.0/16"}, false, true},
		{"all but one address", "pod=10.0.0.0/30", "exclude=10.0.0.0/31,10.0.0.2/32", []string{"10.0.0.0/30"}, []string{"10.0.0.0/31", "10.0.0.2/32"}, true, false},
		{"as short as allowed", "pod=10.0.0.0/8,fd00::/16", "", []string{"10.0.0.0/8", "fd00::/16"}, nil, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := New(entries(t, tt.shoot), entries(t, tt.exclude))
			if err != nil {
				t.Fatalf("good CIDRs were refused: %v", err)
			}
			if diff := cmp.Diff(tt.wantShoot, text(set.Shoot())); diff != "" {
				t.Errorf("Shoot (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.wantExcluded, text(set.Excluded())); diff != "" {
				t.Errorf("Excluded (-want +got):\n%s", diff)
			}
			if set.Has4() != tt.want4 || set.Has6() != tt.want6 {
				t.Errorf("Has4, Has6 = %v, %v; want %v, %v: rules would be made for the wrong families", set.Has4(), set.Has6(), tt.want4, tt.want6)
			}
		})
	}
}

func TestContainsAndCovering(t *testing.T) {
	set, err := New(entries(t, "pod=10.0.0.0/8,fd00::/48 node=10.250.0.0/16"), entries(t, "exclude=10.9.0.0/16,fd00::53/128"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		address string
		want    string // the entry of Covering, empty if the address is not the shoot's
	}{
		{"9.255.255.255", ""},
		{"10.0.0.0", `--shoot-pod-cidr "10.0.0.0/8"`},
		{"10.8.255.255", `--shoot-pod-cidr "10.0.0.0/8"`},
		{"10.9.0.0", ""},
		{"10.9.255.255", ""},
		{"10.250.1.1", `--shoot-node-cidr "10.250.0.0/16"`},
		{"::ffff:10.250.1.1", `--shoot-node-cidr "10.250.0.0/16"`},
		{"10.255.255.255", `--shoot-pod-cidr "10.0.0.0/8"`},
		{"11.0.0.0", ""},
		{"fd00::52", `--shoot-pod-cidr "fd00::/48"`},
		{"fd00::53", ""},
		{"fd00:0:1::", ""},
		{"::1", ""},
	} {
		a := netip.MustParseAddr(tt.address)
		entry, ok := set.Covering(a)
		if ok != (tt.want != "") || ok && entry.String() != tt.want {
			t.Errorf("Covering(%s) = %v, %v; want %s", a, entry, ok, tt.want)
		}
		if set.Contains(a) != (tt.want != "") {
			t.Errorf("Contains(%s) = %v", a, set.Contains(a))
		}
	}
	if set.Contains(netip.Addr{}) {
		t.Error("the zero address is the shoot's: a failed lookup would be tunnelled")
	}
	var none *Set
	if _, ok := none.Covering(netip.MustParseAddr("10.0.0.1")); ok || none.Has4() || none.Has6() || none.Shoot() != nil || none.Excluded() != nil {
		t.Error("a nil set contains something")
	}
}

// An exclusion may take away a whole list of the shoot's, which is rarely meant.
func TestEmptyLists(t *testing.T) {
	for _, tt := range []struct {
		shoot, exclude string
		want           []string
	}{
		{"pod=10.0.0.0/8", "exclude=10.0.0.0/9", nil},
		{"pod=10.0.0.0/16,10.2.0.0/16 node=10.1.0.0/16", "exclude=10.1.0.0/16", []string{"--shoot-node-cidr"}},
		{"pod=10.0.0.0/16,10.2.0.0/16 node=10.1.0.0/16", "exclude=10.0.0.0/16", nil},
		{"pod=10.0.0.0/16 service=10.2.0.0/16 node=10.1.0.0/16", "exclude=10.1.0.0/17,10.1.128.0/17,10.2.0.0/15", []string{"--shoot-service-cidr", "--shoot-node-cidr"}},
		{"pod=10.0.0.0/16,fd00::/48 node=10.1.0.0/16,fd00:1::/48", "exclude=10.1.0.0/16", nil},
		{"pod=10.0.0.0/8 node=10.250.0.0/16", "exclude=10.250.0.0/16", []string{"--shoot-node-cidr"}},
	} {
		set, err := New(entries(t, tt.shoot), entries(t, tt.exclude))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, set.EmptyLists()); diff != "" {
			t.Errorf("%s, %s (-want +got):\n%s", tt.shoot, tt.exclude, diff)
		}
	}
	var none *Set
	if got := none.EmptyLists(); got != nil {
		t.Errorf("a nil set has lists %q", got)
	}
}

func TestSetIsImmutable(t *testing.T) {
	given := entries(t, "pod=10.0.0.0/16")
	set, err := New(given, entries(t, "exclude=10.0.1.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	given[0].Prefix = netip.MustParsePrefix("192.168.0.0/16")
	set.Shoot()[0] = netip.MustParsePrefix("192.168.0.0/16")
	set.Excluded()[0] = netip.MustParsePrefix("192.168.0.0/16")
	if e, ok := set.Covering(netip.MustParseAddr("10.0.0.1")); !ok || e.Prefix.String() != "10.0.0.0/16" {
		t.Errorf("a caller changed the set: Covering = %v, %v", e, ok)
	}
	if set.Contains(netip.MustParseAddr("10.0.1.1")) {
		t.Error("a caller changed the exclusions")
	}
}

func text(prefixes []netip.Prefix) []string {
	var all []string
	for _, p := range prefixes {
		all = append(all, p.String())
	}
	return all
}
