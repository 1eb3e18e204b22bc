// SPDX-License-Identifier: Apache-2.0

package commandline

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// ApplyVariables sets the flags of cmd that the command line did not set and that
// have a variable. It refuses variables with the prefix that belong to no flag of
// any command of the program: a container has one environment for all of them.
func ApplyVariables(cmd *cobra.Command, prefix string, variables flagset.Variables) error {
	var flags []string
	collect := func(f *pflag.Flag) { flags = append(flags, f.Name) }
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.PersistentFlags().VisitAll(collect)
		c.Flags().VisitAll(collect)
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(cmd.Root())
	if err := flagset.CheckVariables(cmd.Root().Name(), prefix, flags, variables); err != nil {
		return err
	}
	return flagset.ApplyEnvironment(cmd.Flags(), prefix, variables.Lookup)
}
