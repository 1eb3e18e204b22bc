// SPDX-License-Identifier: Apache-2.0

//go:build linux

package userns

import "testing"

func TestIsMapped(t *testing.T) {
	const (
		machine   = "         0          0 4294967295\n"
		hostUsers = "         0     524288      65536\n" // a pod with hostUsers: false
		one       = "0 1000 1\n"                         // unshare --map-root-user
	)
	for _, tt := range []struct {
		uidMap string
		uid    uint32
		want   bool
	}{
		{machine, 0, true},
		{machine, 4294967294, true},
		{hostUsers, 14001, true},
		{hostUsers, 65535, true},
		{hostUsers, 65536, false},
		{hostUsers, 1000660000, false},
		{one, 0, true},
		{one, 14001, false},
		{one + "14001 100000 1\n", 14001, true},
		{"", 0, false},         // a map that was not written yet
		{"no map", 7, true},    // the kernel decides
		{one + "x", 7, true},   // the same
		{"7 0\n", 7, true},     // the same
		{"7 0 1 9\n", 7, true}, // further columns are ignored
	} {
		if got := isMapped(tt.uidMap, tt.uid); got != tt.want {
			t.Errorf("isMapped(%q, %d) = %t, want %t", tt.uidMap, tt.uid, got, tt.want)
		}
	}
}
