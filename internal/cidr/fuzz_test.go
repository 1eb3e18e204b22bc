// SPDX-License-Identifier: Apache-2.0

package cidr

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// FuzzParse: a text is refused in one line, or becomes a prefix that means the same and is
// safe to write into a rule. A value that a refusal advises is not refused.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"10.0.0.0/8", "fd00::/48", "10.0.0.1/8", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104", "fe80::1%eth0", "10.0.0.0/8,", "", " 10.0.0.0/8 ", "10.0.0.0/8\n-j ACCEPT",
		"10.0.0.0/4", "fd00::1/3", "127.0.0.1/8", "::ffff:127.0.0.1/120", "::ffff:10.0.0.1", "169.254.169.254",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		parsed, err := Parse("--shoot-pod-cidr", []string{value})
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), "--shoot-pod-cidr") || strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("the refusal of %q is not one sentence that names the flag: %q", value, err)
			}
			checkAdvice(t, err)
			return
		}
		p := parsed[0].Prefix
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			t.Fatalf("%q was accepted as %s", value, p)
		}
		if again, err := netip.ParsePrefix(p.String()); err != nil || again != p {
			t.Fatalf("%q became %s, which does not parse to itself", value, p)
		}
	})
}

// FuzzContains compares a Set with a simple model: an address is in one of the entries, and
// in none of the exclusions.
func FuzzContains(f *testing.F) {
	f.Add("10.0.0.0/8,fd00::/48", "10.9.0.0/16", "10.9.0.1")
	f.Add("10.0.0.0/8 10.1.0.0/16", "", "::ffff:10.1.0.1")
	f.Add("100.64.0.0/11,100.96.0.0/11", "100.64.0.53/32,100.64.0.52/32", "100.64.0.54")
	f.Add("fd00::/16", "fd00::/17", "fd00:8000::")
	f.Fuzz(func(t *testing.T, shootText, excludeText, addressText string) {
		address, err := netip.ParseAddr(addressText)
		if err != nil {
			return // not what this is about
		}
		shoot, err1 := Parse("--shoot-pod-cidr", strings.Split(shootText, ","))
		exclude, err2 := Parse("--exclude-cidr", strings.Split(excludeText, ","))
		if err1 != nil || err2 != nil && excludeText != "" {
			return // not what this is about
		}
		set, err := New(shoot, exclude)
		if err != nil {
			return // not what this is about
		}
		for _, a := range probes(shoot, exclude, address) {
			want := naive(shoot, a) && !naive(exclude, a)
			entry, covered := set.Covering(a)
			if set.Contains(a) != want || covered != want {
				t.Fatalf("Contains(%s) = %v, Covering %v; want %v with shoot %v minus %v", a, set.Contains(a), covered, want, shoot, exclude)
			}
			if covered && !entry.Prefix.Contains(a.Unmap()) {
				t.Fatalf("Covering(%s) names %v", a, entry)
			}
			if want && (a.Unmap().Is4() && !set.Has4() || a.Unmap().Is6() && !set.Has6()) {
				t.Fatalf("%s is the shoot's, but its family is missing", a)
			}
		}
	})
}

// probes returns the given address, and the addresses at and around each boundary.
func probes(shoot, exclude []Entry, address netip.Addr) []netip.Addr {
	all := []netip.Addr{address}
	for _, e := range append(append([]Entry{}, shoot...), exclude...) {
		first := e.Prefix.Addr()
		all = append(all, first)
		if before := first.Prev(); before.IsValid() {
			all = append(all, before)
		}
		if after := first.Next(); after.IsValid() {
			all = append(all, after)
		}
	}
	return all
}

func naive(entries []Entry, a netip.Addr) bool {
	for _, e := range entries {
		if e.Prefix.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}
