// SPDX-License-Identifier: Apache-2.0

//go:build linux

package condition

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestPortsAreWrittenAsRanges(t *testing.T) {
	for _, tc := range []struct {
		ports          []uint16
		rule, readable string
	}{
		{nil, "", ""},
		{[]uint16{22}, "22", "22"},
		{[]uint16{22, 23}, "22,23", "22,23"},
		{[]uint16{22, 23, 24}, "22:24", "22-24"},
		{[]uint16{1, 22, 23, 24, 25, 80, 65534, 65535}, "1,22:25,80,65534,65535", "1,22-25,80,65534,65535"},
	} {
		if got := Ports(tc.ports); got != tc.rule {
			t.Errorf("Ports(%v) is %s, want %s", tc.ports, got, tc.rule)
		}
		if got := strings.Join(PortRanges(tc.ports), ","); got != tc.readable {
			t.Errorf("PortRanges(%v) are %s, want %s", tc.ports, got, tc.readable)
		}
	}
	for _, bad := range []string{"", "0", "22:", ":22", "24:22", "22:22", "22:65536", "0:3", "22,", "22-24", "x"} {
		if ports, ok := ParsePorts(bad); ok {
			t.Errorf("ParsePorts takes %q for %v", bad, ports)
		}
	}
}

// TestChunksFitIntoRules over random ports: nothing is lost, no rule holds more than
// xt_multiport can, and what is written is read again.
func TestChunksFitIntoRules(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var ports []uint16
		for range random.IntN(60) {
			first := 1 + random.IntN(65000)
			for port := range 1 + random.IntN(4)*random.IntN(100) {
				ports = append(ports, uint16(first+port))
			}
		}
		ports = Canonical(ports)
		var again []uint16
		for _, chunk := range ChunkPorts(ports) {
			text := Ports(chunk)
			if room := 1 + strings.Count(text, ",") + strings.Count(text, ":"); room > MaxPorts {
				t.Errorf("seed %d: %s takes the room of %d ports", seed, text, room)
			}
			read, ok := ParsePorts(text)
			if !ok {
				t.Fatalf("seed %d: %s is not read again", seed, text)
			}
			again = append(again, read...)
		}
		if !slices.Equal(ports, again) {
			t.Fatalf("seed %d: %v became %v", seed, ports, again)
		}
	}
}
