// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"fmt"
)

// align returns for each element of have the index of the element of want that it
// becomes, or -1. It matches as many elements as possible with the same identity in the
// same order. In the gaps between these, if both sides have the same number of
// elements, it matches those with the same name, or without names.
func align(have, want []any) []int {
	pairs := sameInOrder(identities(have), identities(want))
	i, j := 0, 0 // beginning of the gap
	for k := 0; k <= len(pairs); k++ {
		end := len(want) // of the gap
		if k < len(pairs) {
			if pairs[k] < 0 {
				continue
			}
			end = pairs[k]
		}
		for n := range k - i {
			if k-i == end-j && nameOf(have[i+n]) == nameOf(want[j+n]) {
				pairs[i+n] = j + n
			}
		}
		i, j = k+1, end+1
	}
	return pairs
}

// sameInOrder returns for each element of a the index of the same element in b, or -1.
// If several matches have the same size, it prefers the one that leaves elements at
// their indexes.
func sameInOrder(a, b []string) []int {
	pairs, same := make([]int, len(a)), 0
	for i := range pairs {
		if pairs[i] = -1; i < len(b) && a[i] == b[i] {
			pairs[i] = i
			same++
		}
	}
	first, endA, endB := 0, len(a), len(b)
	for first < min(endA, endB) && a[first] == b[first] {
		first++
	}
	for min(endA, endB) > first && a[endA-1] == b[endB-1] {
		endA--
		endB--
	}
	if (endA-first)*(endB-first) > maxComparisons {
		return pairs
	}
	common := longestCommon(a[first:endA], b[first:endB])
	if len(a) == len(b) && same >= first+len(a)-endA+len(common)-count(common, -1) {
		return pairs
	}
	for i := range pairs {
		switch {
		case i < first:
		case i >= endA:
			pairs[i] = i - endA + endB
		case common[i-first] < 0:
			pairs[i] = -1
		default:
			pairs[i] = first + common[i-first]
		}
	}
	return pairs
}

func count(list []int, of int) (n int) {
	for _, value := range list {
		if value == of {
			n++
		}
	}
	return n
}

// maxComparisons limits the memory for comparing two lists. No list of a pod is that
// long. Elements of longer lists are compared by their indexes.
const maxComparisons = 1 << 20

// longestCommon returns the same as sameInOrder, for short lists.
func longestCommon(a, b []string) []int {
	most := make([][]int, len(a)+1) // number of matches of a[i:] and b[j:]
	for i := range most {
		most[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			most[i][j] = max(most[i+1][j], most[i][j+1])
			if a[i] == b[j] {
				most[i][j] = most[i+1][j+1] + 1
			}
		}
	}
	pairs, j := make([]int, len(a)), 0
	for i := range a {
		pairs[i] = -1
		for j < len(b) && a[i] != b[j] && most[i][j] == most[i][j+1] {
			j++
		}
		if j < len(b) && a[i] == b[j] {
			pairs[i] = j
			j++
		}
	}
	return pairs
}

// identities returns a text for each element, which is the same for the same elements.
// It is the element's name, or its value if the name is missing or not unique.
func identities(list []any) []string {
	names := map[string]int{}
	for _, value := range list {
		names[nameOf(value)]++
	}
	all := make([]string, len(list))
	for i, value := range list {
		_, isSource := value.(Source)
		name := nameOf(value)
		switch {
		case isSource: // it is matched only by its index
			all[i] = fmt.Sprintf("Source %d", i)
		case name != "" && names[name] == 1:
			all[i] = name
		default:
			all[i] = jsonText(Plain(value))
		}
	}
	return all
}

func nameOf(value any) string {
	if source, ok := value.(Source); ok {
		value = source.Value
	}
	fields, _ := value.(map[string]any)
	name, _ := Plain(fields["name"]).(string)
	return name
}
