// SPDX-License-Identifier: Apache-2.0

//go:build linux

package iptables

import "fmt"

// Differences lists, in words, how the rules of a chain that exists differ from those that
// it should have. have and want are compared. shown are the words for have that people read.
func Differences(have, shown, want []string) []string {
	if len(have) == 0 && len(want) > 1 {
		return []string{"is empty: something flushed it"}
	}
	// Leave out the rules that are right at both ends: with one rule missing, each rule
	// behind it would look wrong.
	before := 0
	for before < min(len(have), len(want)) && have[before] == want[before] {
		before++
	}
	have, shown, want = have[before:], shown[before:], want[before:]
	for len(have) > 0 && len(want) > 0 && have[len(have)-1] == want[len(want)-1] {
		have, want = have[:len(have)-1], want[:len(want)-1]
	}
	var all []string
	for i := range max(len(have), len(want)) {
		number := before + i + 1
		switch {
		case i >= len(have):
			all = append(all, fmt.Sprintf("rule %d is missing: %s", number, want[i]))
		case i >= len(want):
			all = append(all, fmt.Sprintf("rule %d is not ours: %s", number, shown[i]))
		default:
			all = append(all, fmt.Sprintf("rule %d is %q, and should be %q", number, shown[i], want[i]))
		}
	}
	return all
}
