// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// environment is what the process was given.
type environment struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	version        string // empty: what the build says
}

// The exit codes, which scripts rely on.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// run is the program: it returns the exit code.
func run(env environment) int {
	root := newCommand(env)
	root.SetArgs(env.args)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	err := root.Execute()
	if err != nil {
		// Joined errors have a line each; what is wrong is one sentence.
		fmt.Fprintf(env.stderr, "webhook: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return exitCode(err)
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return exitDone
	case options.IsUsage(err):
		return exitUsage
	default:
		return exitFailed
	}
}

// newCommand returns the root command with all others.
func newCommand(env environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "webhook",
		Short: "Add init-redirect and proxy-client to pods",
		Long: "webhook adds init-redirect and proxy-client to the pods whose label shoot-proxy.io/inject\n" +
			"is \"true\": as an admission webhook of a cluster (serve), or in manifests (inject).",
		Args:              noArguments,
		SilenceUsage:      true, // run says what is wrong, once
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return &options.UsageError{Problem: "a command is missing: run 'webhook --help' to see what there is"}
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return options.FlagError(cmd.CommandPath(), err) })
	root.AddCommand(
		serveCommand(versionOf(env), env.stdout, env.stderr),
		injectCommand(env), uninjectCommand(env), explainCommand(env), versionCommand(env),
	)
	return root
}

func versionCommand(env environment) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.stdout, "webhook", versionOf(env))
			return err
		},
	}
}

// noArguments refuses what is neither a flag nor a command.
func noArguments(cmd *cobra.Command, args []string) error {
	return options.FlagError(cmd.CommandPath(), cobra.NoArgs(cmd, args))
}

// unknownVersion is that of a build outside of version control.
const unknownVersion = "unknown"

// versionOf returns the linker's version, else the one that the Go tool put into the
// binary from version control.
func versionOf(env environment) string {
	if env.version != "" {
		return env.version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return unknownVersion
}
