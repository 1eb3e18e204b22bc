// SPDX-License-Identifier: Apache-2.0

package flagset

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

type sizeValue int64

// sizeUnits are the units of a size, the largest first.
var sizeUnits = [...]struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func (v *sizeValue) Set(s string) error {
	notASize := errors.New("is not a size: write a whole number and its unit, such as 16MiB")
	number, factor := s, int64(1)
	for _, u := range sizeUnits {
		// Kubernetes writes Mi for MiB.
		for _, suffix := range []string{u.name, strings.TrimSuffix(u.name, "B")} {
			if rest, ok := strings.CutSuffix(s, suffix); ok && factor == 1 {
				number, factor = rest, u.bytes
			}
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || strings.HasPrefix(number, "+") {
		return notASize
	}
	if n > math.MaxInt64/factor || n < math.MinInt64/factor {
		return errors.New("is far out of range: write a smaller size")
	}
	*v = sizeValue(n * factor)
	return nil
}

// String returns the shortest form.
func (v *sizeValue) String() string {
	for _, u := range sizeUnits {
		if n := int64(*v); n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*v), 10)
}
func (v *sizeValue) Type() string { return "size" }

// FormatSize returns the shortest form of a number of bytes, such as 16MiB.
func FormatSize(bytes int64) string { return (*sizeValue)(&bytes).String() }
