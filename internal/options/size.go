// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// sizeValue is a number of bytes.
type sizeValue int64

// sizeUnits are those that a size is written in, the largest first.
var sizeUnits = [...]struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func (v *sizeValue) Set(s string) error {
	problem := errors.New("is not a size: write a whole number and its unit, such as 16MiB")
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
		return problem
	}
	if n > math.MaxInt64/factor || n < math.MinInt64/factor {
		return errors.New("is far out of range")
	}
	*v = sizeValue(n * factor)
	return nil
}

// String is the shortest way to write it.
func (v *sizeValue) String() string {
	for _, u := range sizeUnits {
		if n := int64(*v); n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*v), 10)
}
func (v *sizeValue) Type() string { return "size" }

// minBuffer is the least that a connection may be allowed to hold back: a few
// packets, below which every app would be a slow reader.
const minBuffer = 256 << 10

// checkBuffers validates --connection-buffer and --total-buffer.
func (o *ProxyClient) checkBuffers() error {
	connection, total := sizeValue(o.ConnectionBuffer), sizeValue(o.TotalBuffer)
	if o.ConnectionBuffer < minBuffer {
		return &UsageError{Flag: "--connection-buffer", Value: connection.String(), Problem: "is too small to hold anything back: write 256KiB or more"}
	}
	if o.TotalBuffer < o.ConnectionBuffer {
		return &UsageError{Flag: "--total-buffer", Value: total.String(), Problem: "is less than one connection may hold, --connection-buffer " + connection.String() + ": raise the one or lower the other"}
	}
	return nil
}
