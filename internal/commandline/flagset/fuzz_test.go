// SPDX-License-Identifier: Apache-2.0

package flagset

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// oneLine fails the test if a refusal has more than one line.
func oneLine(t *testing.T, input any, err error) {
	t.Helper()
	if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
		t.Fatalf("the refusal of %q has two lines: %q", input, err)
	}
}

// FuzzValues: the text of a value gives the same value again.
func FuzzValues(f *testing.F) {
	for _, seed := range []string{
		"", "0", "-1", "+1", "16MiB", "16Mi", "1GiB", "9223372036854775807", "-9223372036854775808", "8589934592GiB", "1KiBKi",
		"8s", "1h0m", "1m0s", "100h0m0s", "-1ns", "1.5h", "true", "T", "x,y,,", "1000001", "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, pair := range [][2]pflag.Value{
			{new(sizeValue), new(sizeValue)},
			{new(numberValue), new(numberValue)},
			{new(durationValue), new(durationValue)},
			{new(switchValue), new(switchValue)},
			{new(textValue), new(textValue)},
			{new(listValue), new(listValue)},
		} {
			value, again := pair[0], pair[1]
			if err := value.Set(text); err != nil {
				oneLine(t, text, err)
				continue
			}
			if err := again.Set(value.String()); err != nil || again.String() != value.String() {
				t.Fatalf("%s %q is written as %q, and that is read as %q (%v)", value.Type(), text, value, again, err)
			}
		}
	})
}
