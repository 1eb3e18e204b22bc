// SPDX-License-Identifier: Apache-2.0

package commandline

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// once is the value of a flag that has one. Without it the last of several would win,
// and the others would be lost without a word.
type once struct {
	pflag.Value
	given *string // what it was set to, nil where it has its default
}

// Set implements pflag.Value. The same value again loses nothing.
func (v *once) Set(s string) error {
	if v.given != nil && *v.given != s {
		return fmt.Errorf("is given twice, first as %q: give it once", *v.given)
	}
	if err := v.Value.Set(s); err != nil {
		return err
	}
	v.given = &s
	return nil
}

// IsBoolFlag tells pflag that the flag alone means true.
func (v *once) IsBoolFlag() bool {
	b, ok := v.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// setOnce makes each flag of cmd and of the commands below it refuse a second value,
// but for those that are lists.
func setOnce(cmd *cobra.Command) {
	wrap := func(f *pflag.Flag) {
		switch f.Value.(type) {
		case *once, pflag.SliceValue:
		default:
			f.Value = &once{Value: f.Value}
		}
	}
	cmd.PersistentFlags().VisitAll(wrap)
	cmd.Flags().VisitAll(wrap)
	for _, child := range cmd.Commands() {
		setOnce(child)
	}
}
