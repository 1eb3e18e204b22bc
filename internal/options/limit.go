// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"strconv"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// maxLimit is more than a user can want of any limit.
const maxLimit = 1_000_000

// checkLimits validates --max-dials and --max-connections.
func (o *ProxyClient) checkLimits() error {
	if o.MaxDials < 1 || o.MaxDials > maxLimit {
		return &flagset.UsageError{Flag: "--max-dials", Value: strconv.FormatInt(o.MaxDials, 10), Problem: "is not a number of dials: write a whole number from 1 to 1000000, such as 256"}
	}
	if o.MaxConnections < 0 || o.MaxConnections > maxLimit {
		return &flagset.UsageError{Flag: "--max-connections", Value: strconv.FormatInt(o.MaxConnections, 10), Problem: errLimit.Error()}
	}
	return nil
}

// limitValue is a positive number, or 0 for a limit that follows from other limits. 0
// cannot be given: it is the value if the flag is left out.
type limitValue struct {
	to      *int64
	problem error // of every other value
}

var errLimit = errors.New("is not a number of connections: write a whole number from 1 to 1000000, or leave it out for as many as the open files allow")

func (v *limitValue) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > maxLimit {
		return v.problem
	}
	*v.to = n
	return nil
}

func (v *limitValue) String() string {
	if *v.to == 0 {
		return ""
	}
	return strconv.FormatInt(*v.to, 10)
}
func (v *limitValue) Type() string { return "limit" }

// minBuffer is the least --connection-buffer, in bytes. It is a few packets: with less,
// every app would count as a slow reader.
const minBuffer = 256 << 10

// checkBuffers validates --connection-buffer and --total-buffer.
func (o *ProxyClient) checkBuffers() error {
	connection, total := flagset.FormatSize(o.ConnectionBuffer), flagset.FormatSize(o.TotalBuffer)
	if o.ConnectionBuffer < minBuffer {
		return &flagset.UsageError{Flag: "--connection-buffer", Value: connection, Problem: "is too small to hold anything back: write 256KiB or more"}
	}
	if o.TotalBuffer < o.ConnectionBuffer {
		return &flagset.UsageError{Flag: "--total-buffer", Value: total, Problem: "is less than one connection may hold, --connection-buffer " + connection + ": raise the one or lower the other"}
	}
	return nil
}
