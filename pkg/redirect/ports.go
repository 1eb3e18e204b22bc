// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"strconv"
	"strings"
)

// portRange are ports in a row, at least one.
type portRange struct{ first, last uint16 }

// size is how many ports the range has.
func (r portRange) size() int { return int(r.last) - int(r.first) + 1 }

// text is the range with something between its ends. Two ports are a list of two, which
// takes as much room in a rule.
func (r portRange) text(between string) string {
	switch r.size() {
	case 1:
		return strconv.Itoa(int(r.first))
	case 2:
		return fmt.Sprintf("%d,%d", r.first, r.last)
	default:
		return fmt.Sprintf("%d%s%d", r.first, between, r.last)
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

// Ranges returns ports for people to read: three or more in a row as 30000-32767.
func Ranges(ports []uint16) []string {
	var all []string
	for _, r := range rangesOf(canonical(ports)) {
		all = append(all, strings.Split(r.text("-"), ",")...)
	}
	return all
}

// portList is sorted ports as iptables writes them: 22,80,30000:32767.
func portList(ports []uint16) string {
	var words []string
	for _, r := range rangesOf(ports) {
		words = append(words, r.text(":"))
	}
	return strings.Join(words, ",")
}

// parsePorts reads what portList writes. It knows no port 0, which this package never
// writes.
func parsePorts(s string) ([]uint16, bool) {
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

// chunks cuts sorted ports into what one condition of multiport can hold.
func chunks(ports []uint16) [][]uint16 {
	var all [][]uint16
	var chunk []uint16
	room := maxMultiport
	for _, r := range rangesOf(ports) {
		need := min(r.size(), 2) // a range takes the room of two
		if need > room {
			all = append(all, chunk)
			chunk, room = nil, maxMultiport
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
