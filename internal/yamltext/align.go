// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"encoding/json"
	"fmt"
)

// align says which element of want each of have becomes, -1 for none: the most that
// have the same identity and keep their order, and between those the ones without a
// name, where no more come than go.
func align(have, want []any) []int {
	a, b := identities(have), identities(want)
	pairs := sameInOrder(a, b)
	for i := 0; i < len(pairs); i++ {
		j := 0 // the first in want behind what is before the gap
		if i > 0 {
			j = pairs[i-1] + 1
		}
		from := i
		for i < len(pairs) && pairs[i] < 0 {
			i++
		}
		end := len(want)
		if i < len(pairs) {
			end = pairs[i]
		}
		if i-from != end-j {
			continue
		}
		for k := from; k < i; k++ {
			if nameOf(have[k]) == "" && nameOf(want[j+k-from]) == "" {
				pairs[k] = j + k - from
			}
		}
	}
	return pairs
}

// sameInOrder returns for each element of a the one of b that it is, -1 for none.
func sameInOrder(a, b []string) []int {
	pairs := make([]int, len(a))
	for i := range pairs {
		pairs[i] = -1
	}
	first := 0
	for first < min(len(a), len(b)) && a[first] == b[first] {
		pairs[first] = first
		first++
	}
	endA, endB := len(a), len(b)
	for endA > first && endB > first && a[endA-1] == b[endB-1] {
		endA--
		endB--
		pairs[endA] = endB
	}
	if (endA-first)*(endB-first) <= maxComparisons {
		for i, j := range longestCommon(a[first:endA], b[first:endB]) {
			if j >= 0 {
				pairs[first+i] = first + j
			}
		}
	}
	return pairs
}

// maxComparisons is how much memory finding the elements that stay may take. No list of
// a pod is as long; the elements of longer ones are compared by their places.
const maxComparisons = 1 << 20

// longestCommon is sameInOrder for short lists.
func longestCommon(a, b []string) []int {
	most := make([][]int, len(a)+1) // how many, of a[i:] and b[j:]
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
	pairs := make([]int, len(a))
	j := 0
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

// identities returns the same text for the same elements: their names, or their values
// where a name is missing or there twice.
func identities(list []any) []string {
	names := map[string]int{}
	for _, value := range list {
		names[nameOf(value)]++
	}
	all := make([]string, len(list))
	for i, value := range list {
		if name := nameOf(value); name != "" && names[name] == 1 {
			all[i] = name
		} else {
			all[i] = textOf(value)
		}
	}
	return all
}

func nameOf(value any) string {
	fields, _ := Plain(value).(map[string]any)
	name, _ := fields["name"].(string)
	return name
}

// textOf returns a value as JSON.
func textOf(value any) string {
	text, err := json.Marshal(Plain(value))
	if err != nil {
		panic(fmt.Sprintf("what came from JSON does not become JSON: %v", err))
	}
	return string(text)
}
