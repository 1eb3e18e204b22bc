// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/options"
)

// environment is what the process was given.
type environment struct {
	args           []string
	variables      flagset.Variables
	stdout, stderr io.Writer
	signals        <-chan os.Signal // the first begins the drain, the second ends the process
	version        string           // if empty, that of the build information
}

// The exit codes, on which scripts and users of the kubelet rely.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitAborted = 130
)

// errAborted is the error of serving that a second signal ended.
var errAborted = errors.New("ended by a second signal")

// run is the program: it returns the exit code.
func run(env environment) int {
	root := newCommand(env)
	root.SetArgs(env.args)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	err := root.Execute()
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errAborted):
		return exitAborted
	}
	fmt.Fprintln(env.stderr, commandline.Sentence("proxy-exit", err))
	if flagset.IsUsage(err) {
		return exitUsage
	}
	return exitFailed
}

// newCommand returns the root command with its subcommands.
func newCommand(env environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "proxy-exit",
		Short: "Connect clients to the destinations that a policy allows",
		Args:  commandline.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			return &flagset.UsageError{Problem: "no command is given: 'proxy-exit serve' serves, and 'proxy-exit --help' shows what there is"}
		},
	}
	root.AddCommand(serveCommand(env), policyCommand(env), commandline.VersionCommand("proxy-exit", commandline.VersionOf(env.version), env.stdout))
	commandline.Prepare(root)
	return root
}

// serveCommand returns the command that serves.
func serveCommand(env environment) *cobra.Command {
	flags := options.NewProxyExit()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve clients until a signal ends it",
		Long: "serve accepts clients with a certificate, over TLS 1.3 and HTTP/2, and connects each CONNECT\n" +
			"to its destination, if the policy allows this client the destination.\n\n" +
			"Every flag can also come from the environment, --dial-timeout as PROXY_EXIT_DIAL_TIMEOUT;\n" +
			"the flag wins. SIGTERM and SIGINT drain, a second one ends at once.",
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := commandline.ApplyVariables(cmd, options.ProxyExitPrefix, env.variables); err != nil {
				return err
			}
			cfg, err := flags.Config()
			if err != nil {
				return flagset.NameVariable(cmd.Flags(), err)
			}
			return serve(env, cfg)
		},
	}
	flags.AddFlags(cmd.Flags())
	return cmd
}
