// SPDX-License-Identifier: Apache-2.0

package options

import "strconv"

// checkLimits validates --max-dials.
func (o *ProxyClient) checkLimits() error {
	if o.MaxDials < 1 || o.MaxDials > maxLimit {
		return &UsageError{Flag: "--max-dials", Value: strconv.FormatInt(o.MaxDials, 10), Problem: "is not a number of dials: write a whole number from 1 to 1000000, such as 256"}
	}
	return nil
}

// maxLimit is more than any limit can be meant to be.
const maxLimit = 1_000_000
