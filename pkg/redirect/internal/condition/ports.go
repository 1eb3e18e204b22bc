// SPDX-License-Identifier: Apache-2.0

//go:build linux

package condition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxPorts is how many ports one rule can have: XT_MULTI_PORTS of
// linux/netfilter/xt_multiport.h. A range counts as two.
const MaxPorts = 15

// portRange are consecutive ports, at least one.
type portRange struct{ first, last uint16 }

// size returns how many ports the range has.
func (r portRange) size() int { return int(r.last) - int(r.first) + 1 }

// text returns the range with a separator between its ends. A range of two is written as
// two ports, which counts the same in a rule.
func (r portRange) text(separator string) string {
	switch r.size() {
	case 1:
		return strconv.Itoa(int(r.first))
	case 2:
		return fmt.Sprintf("%d,%d", r.first, r.last)
	default:
		return fmt.Sprintf("%d%s%d", r.first, separator, r.last)
	}
}

// rangesOf returns sorted ports as ranges.
func rangesOf(ports []uint16) []portRange {
	var all []portRange
	for _, port := range ports {
		if n := len(all); n > 0 && port == all[n-1].last+1 {
			all[n-1].last = port
			continue
		}
		all = append(all, portRange{port, port})
	}
	return all
}

// Canonical returns values sorted and without duplicates, so that equal lists give equal
// rules.
func Canonical[T uint16 | uint32](values []T) []T {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// PortRanges returns ports for people to read: three or more consecutive ports are
// written as 30000-32767.
func PortRanges(ports []uint16) []string {
	var all []string
	for _, r := range rangesOf(Canonical(ports)) {
		all = append(all, strings.Split(r.text("-"), ",")...)
	}
	return all
}

// Ports returns sorted ports as iptables writes them: 22,80,30000:32767.
func Ports(ports []uint16) string {
	var words []string
	for _, r := range rangesOf(ports) {
		words = append(words, r.text(":"))
	}
	return strings.Join(words, ",")
}

// ParsePorts reads what [Ports] writes. It refuses port 0.
func ParsePorts(s string) ([]uint16, bool) {
	var ports []uint16
	for part := range strings.SplitSeq(s, ",") {
		from, to, ranged := strings.Cut(part, ":")
		if !ranged {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 16)
		if err != nil || first == 0 {
			return nil, false
		}
		last, err := strconv.ParseUint(to, 10, 16)
		if err != nil || last < first || ranged && last == first {
			return nil, false
		}
		for port := first; port <= last; port++ {
			ports = append(ports, uint16(port))
		}
	}
	return ports, true
}

// ChunkPorts splits sorted ports into lists that each fit into one rule.
func ChunkPorts(ports []uint16) [][]uint16 {
	var all [][]uint16
	var chunk []uint16
	room := MaxPorts
	for _, r := range rangesOf(ports) {
		need := min(r.size(), 2) // a range counts as two ports
		if need > room {
			all = append(all, chunk)
			chunk, room = nil, MaxPorts
		}
		room -= need
		for port := int(r.first); port <= int(r.last); port++ {
			chunk = append(chunk, uint16(port))
		}
	}
	if len(chunk) > 0 {
		all = append(all, chunk)
	}
	return all
}
