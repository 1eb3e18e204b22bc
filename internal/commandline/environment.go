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
	if err := flagset.CheckVariables(cmd.Root().Name(), withFlags(cmd), prefix, flags, variables); err != nil {
		return err
	}
	return flagset.ApplyEnvironment(cmd.Flags(), prefix, variables.Lookup)
}

// withFlags returns the words of the command whose help shows flags that have variables: the
// root, if it has flags of its own, or cmd.
func withFlags(cmd *cobra.Command) string {
	of := cmd
	cmd.Root().LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			of = cmd.Root()
		}
	})
	return of.CommandPath()
}
