// SPDX-License-Identifier: Apache-2.0

// Package commandline is what the command lines of all our programs have in common:
// bad flags are one sentence that says what to do, a flag has one value, each program
// tells its version, and none completes commands for a shell. It owns no flag and no
// exit code.
//
//	root := &cobra.Command{Use: "webhook", Args: commandline.NoArguments, RunE: …}
//	root.AddCommand(commandline.VersionCommand("webhook", version, os.Stdout))
//	commandline.Prepare(root)
//	if err := root.Execute(); err != nil {
//		fmt.Fprintln(os.Stderr, commandline.Sentence("webhook", err))
//	}
package commandline

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/spelling"
)

// UnknownVersion is that of a build outside of version control.
const UnknownVersion = "unknown"

// Prepare makes root leave it to its caller to say what is wrong, once. Its commands and
// their flags have to be there.
func Prepare(root *cobra.Command) {
	root.SilenceUsage = true
	root.SilenceErrors = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// Of "webhook injct -f pod.yaml" the command is wrong, and not the flag.
		if args := cmd.Flags().Args(); len(args) > 0 && cmd.HasSubCommands() {
			return NoArguments(cmd, args)
		}
		return options.FlagError(cmd.CommandPath(), err, flagsOf(cmd)...)
	})
	root.SetHelpCommand(helpCommand(root))
	setOnce(root)
}

// flagsOf returns the names of the flags that the help of cmd shows.
func flagsOf(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// helpCommand shows the help of a command. Cobra's own ends well where there is no such
// command.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Show the help of a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				cmd, rest = root, args
			}
			if len(rest) > 0 {
				return NoArguments(cmd, rest)
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// Sentence is an error as a program prints it. Joined errors have a line each, and
// become one.
func Sentence(program string, err error) string {
	return program + ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
}

// NoArguments refuses what is neither a flag nor a command. The error is an
// [*options.UsageError].
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := fmt.Sprintf("run '%s --help' to see what there is", cmd.CommandPath())
	if !cmd.HasSubCommands() {
		return &options.UsageError{Problem: fmt.Sprintf("%q is not a flag, and %s takes nothing else: %s", args[0], cmd.CommandPath(), hint)}
	}
	var names []string
	for _, child := range cmd.Commands() {
		names = append(names, child.Name())
	}
	return &options.UsageError{Problem: fmt.Sprintf("%q is not a command of %s: %s", args[0], cmd.CommandPath(), spelling.Question(args[0], names, hint))}
}

// VersionCommand prints a program's name and version.
func VersionCommand(program, version string, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  NoArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(stdout, program, version)
			return err
		},
	}
}

// VersionOf returns what the linker was told, else what the Go tool put into the
// binary from version control.
func VersionOf(linked string) string {
	if linked != "" {
		return linked
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return UnknownVersion
}
