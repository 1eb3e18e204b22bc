// SPDX-License-Identifier: Apache-2.0

// Package commandline is what the commands of all our programs have in common. A bad
// command line is refused in one sentence that says what to do. A flag has one value.
// Each program tells its version, and none completes commands for a shell. Package
// flagset beneath it has the values and the errors of flags. It owns no flag and no exit
// code.
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
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/spelling"
)

// UnknownVersion is the version of a build outside of version control.
const UnknownVersion = "unknown"

// Prepare leaves it to the caller of root to print an error, so that it is printed once.
// Call it after root has its commands, and these their flags.
func Prepare(root *cobra.Command) {
	root.SilenceUsage = true
	root.SilenceErrors = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// Of "webhook injct -f pod.yaml" the command is wrong, and not the flag.
		if args := cmd.Flags().Args(); len(args) > 0 && cmd.HasSubCommands() {
			return NoArguments(cmd, args)
		}
		return flagset.FlagError(cmd.CommandPath(), err, flagsOf(cmd)...)
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

// helpCommand returns the command that shows the help of another one. Cobra's own command
// reports success if there is no such command.
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

// Sentence returns an error as a program prints it, in one line. Joined errors have a
// line each.
func Sentence(program string, err error) string {
	return program + ": " + Printable(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// Printable replaces what could change a terminal. Line ends stay, and a tab becomes a
// space. Texts have words of peers, and of the rules of other programs.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			return r
		case r == '\t':
			return ' '
		default:
			return '?'
		}
	}, text)
}

// NoArguments refuses arguments that are neither a flag nor a command, with a
// [*flagset.UsageError].
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := fmt.Sprintf("run '%s --help' to see what there is", cmd.CommandPath())
	if !cmd.HasSubCommands() {
		return &flagset.UsageError{Problem: fmt.Sprintf("%q is not a flag, and %s takes nothing else: %s", args[0], cmd.CommandPath(), hint)}
	}
	var names []string
	for _, child := range cmd.Commands() {
		names = append(names, child.Name())
	}
	return &flagset.UsageError{Problem: fmt.Sprintf("%q is not a command of %s: %s", args[0], cmd.CommandPath(), spelling.Question(args[0], names, hint))}
}

// VersionCommand returns the command that prints a program's name and version.
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

// VersionOf returns linked, which the linker sets. If that is empty, it returns the
// version that the Go tool put into the binary from version control.
func VersionOf(linked string) string {
	if linked != "" {
		return linked
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return UnknownVersion
}
