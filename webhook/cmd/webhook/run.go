// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/program"
)

// environment is the process's input and output.
type environment struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	version        string // empty: the version of the build information
}

// run runs the program and returns the exit code.
func run(env environment) int {
	err := program.Execute(context.Background(), newCommand(env), env.args, env.stdout, env.stderr)
	return program.Report(env.stderr, "webhook", err)
}

// newCommand returns the root command with all subcommands.
func newCommand(env environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "webhook",
		Short: "Add init-redirect and proxy-client to pods",
		Long: "webhook adds init-redirect and proxy-client to the pods whose label shoot-proxy.io/inject\n" +
			"is \"true\": as an admission webhook of a cluster (serve), or in manifests (inject).",
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return &flagset.UsageError{Problem: "a command is missing: run 'webhook --help' to see what there is"}
		},
	}
	version := commandline.VersionOf(env.version)
	root.AddCommand(
		serveCommand(version, env.stdout, env.stderr),
		injectCommand(env), uninjectCommand(env), explainCommand(env),
		checkCommand(version, env), dryRunCommand(version, env),
		commandline.VersionCommand("webhook", version, env.stdout),
	)
	commandline.Prepare(root)
	return root
}
