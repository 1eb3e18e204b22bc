// SPDX-License-Identifier: Apache-2.0

package options

import (
	"strings"
	"testing"
)

// FuzzLimit: the text of a limit gives the same limit again.
func FuzzLimit(f *testing.F) {
	for _, seed := range []string{"", "0", "-1", "+1", "1", "1000000", "1000001", "9223372036854775808", "x", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, again := limitValue{new(int64), errLimit}, limitValue{new(int64), errLimit}
		if err := value.Set(text); err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("the refusal of %q has two lines: %q", text, err)
			}
			return
		}
		if err := again.Set(value.String()); err != nil || *again.to != *value.to {
			t.Fatalf("%q is written as %q, and that is read as %q (%v)", text, &value, &again, err)
		}
	})
}
