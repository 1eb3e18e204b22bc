// SPDX-License-Identifier: Apache-2.0

// Package spelling finds the name that a person meant who wrote another one. It knows
// no names of its own.
//
//	spelling.Question("podCIDR", []string{"podCIDRs", "nodeCIDRs"}) // "did you mean podCIDRs?"
package spelling

import "strings"

// Nearest returns the name among known that is most like word, the first of several.
// It is empty if none is similar enough to be what was meant.
func Nearest(word string, known []string) string {
	nearest, least := "", allowed(word)+1
	for _, name := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(name)); d < least {
			nearest, least = name, d
		}
	}
	return nearest
}

// allowed is how many edits may be between a word and the name that it stands for: a
// third of its letters. Short words allow one, since more would make another word.
func allowed(word string) int { return max(1, min(4, len(word)/3)) }

// Question is "did you mean NAME?", or otherwise if no name in known is similar.
func Question(word string, known []string, otherwise string) string {
	if name := Nearest(word, known); name != "" {
		return "did you mean " + name + "?"
	}
	return otherwise
}

// distance is how many bytes have to be inserted, deleted, replaced, or swapped with
// their neighbour to make b of a (optimal string alignment distance).
func distance(a, b string) int {
	var before, above, row []int // of the last two prefixes of a, and of this one
	for j := range len(b) + 1 {
		row = append(row, j)
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, []int{i}
		for j := 1; j <= len(b); j++ {
			replaced := above[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			least := min(replaced, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				least = min(least, before[j-2]+1)
			}
			row = append(row, least)
		}
	}
	return row[len(b)]
}
