// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
)

// splice replaces the text between two offsets.
type splice struct {
	from, to int
	text     string
}

// splices are changes to one document. Their offsets are those before all changes.
type splices []splice

func (s *splices) insert(at int, text string) { *s = append(*s, splice{at, at, text}) }

func (s *splices) remove(from, to int) { *s = append(*s, splice{from, to, ""}) }

func (s *splices) replace(from, to int, text string) { *s = append(*s, splice{from, to, text}) }

// apply returns the text after all splices. At the same offset they keep their order.
func (s splices) apply(text []byte) ([]byte, error) {
	slices.SortStableFunc(s, func(a, b splice) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	var out bytes.Buffer
	at := 0
	for _, next := range s {
		if next.from < at || next.to < next.from || next.to > len(text) {
			return nil, errors.New("two changes meet in the same text")
		}
		out.Write(text[at:next.from])
		out.WriteString(next.text)
		at = next.to
	}
	out.Write(text[at:])
	return out.Bytes(), nil
}
