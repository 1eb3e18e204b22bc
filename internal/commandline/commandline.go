// SPDX-License-Identifier: Apache-2.0

// Package commandline is what the command lines of all our programs have in common:
// bad flags are one sentence that says what to do, each program tells its version, and
// none completes commands for a shell. It owns no flag and no exit code.
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

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// UnknownVersion is that of a build outside of version control.
const UnknownVersion = "unknown"

// Prepare makes root leave it to its caller to say what is wrong, once.
func Prepare(root *cobra.Command) {
	root.SilenceUsage = true
	root.SilenceErrors = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return options.FlagError(cmd.CommandPath(), err) })
}

// Sentence is an error as a program prints it. Joined errors have a line each, and
// become one.
func Sentence(program string, err error) string {
	return program + ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
}

// NoArguments refuses what is neither a flag nor a command. The error is an
// [*options.UsageError].
func NoArguments(cmd *cobra.Command, args []string) error {
	return options.FlagError(cmd.CommandPath(), cobra.NoArgs(cmd, args))
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
