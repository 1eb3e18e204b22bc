// SPDX-License-Identifier: Apache-2.0

package relay

// Hurried returns the options of a relay whose waits that no option sets are a twentieth of
// what they are.
func Hurried(opt Options) Options {
	opt.hurry = 20
	return opt
}
