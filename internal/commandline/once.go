// SPDX-License-Identifier: Apache-2.0

package commandline

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// once is the value of a flag that has one value. pflag would use the last of several
// values and ignore the others without a message.
type once struct {
	pflag.Value
	given *string // what it was set to, nil if it has its default
}

// Set implements pflag.Value. It accepts the same value again.
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
// except flags that are lists.
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
