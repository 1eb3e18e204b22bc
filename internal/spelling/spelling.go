// SPDX-License-Identifier: Apache-2.0

// Package spelling finds the name that a person most likely meant, if they wrote
// another one. It knows no names of its own.
//
//	spelling.Question("podCIDR", []string{"podCIDRs", "nodeCIDRs"}) // "did you mean podCIDRs?"
package spelling

import "strings"

// Nearest returns the name in known that is most similar to word. Of several it returns
// the first. It returns "" if none is similar enough.
func Nearest(word string, known []string) string {
	nearest, fewest := "", maxEdits(word)+1
	for _, name := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(name)); d < fewest {
			nearest, fewest = name, d
		}
	}
	return nearest
}

// maxEdits returns how many edits may be between a word and the name that it stands
// for: a third of its letters. Short words allow one edit, because more would make
// another word.
func maxEdits(word string) int { return max(1, min(4, len(word)/3)) }

// Question returns "did you mean NAME?", or otherwise if no name in known is similar.
func Question(word string, known []string, otherwise string) string {
	if name := Nearest(word, known); name != "" {
		return "did you mean " + name + "?"
	}
	return otherwise
}

// distance returns how many edits make b of a. An edit inserts, deletes or replaces one
// byte, or swaps two neighbours (optimal string alignment distance).
func distance(a, b string) int {
	var beforeLast, last, row []int // edits for the last two prefixes of a, and for this one
	for j := range len(b) + 1 {
		row = append(row, j)
	}
	for i := 1; i <= len(a); i++ {
		beforeLast, last, row = last, row, []int{i}
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			fewest := min(replaced, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				fewest = min(fewest, beforeLast[j-2]+1)
			}
			row = append(row, fewest)
		}
	}
	return row[len(b)]
}
