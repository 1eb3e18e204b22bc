// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/dialer"
	"github.com/shoot-proxy/proxy-client/internal/options"
)

// environment is what the process was given.
type environment struct {
	args           []string
	variables      flagset.Variables
	stdout, stderr io.Writer
	signals        <-chan os.Signal // the first begins the drain, the second ends the process
	version        string           // if empty, that of the build information

	// checkRedirect replaces the probe of the redirect in tests, which run outside a pod
	// and must not send one. It is nil in production.
	checkRedirect func(context.Context, netip.AddrPort) error
}

// The exit codes, on which scripts and users of the kubelet rely.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitAborted = 130
)

// abortGrace is how long the resets of open connections may take after a second signal.
// Without resets the kernel would end the connections with FIN, and the apps would take
// parts of answers for whole ones.
const abortGrace = 500 * time.Millisecond

// errAborted is the error of serving that a second signal ended.
var errAborted = errors.New("ended by a second signal")

// run is the program: it returns the exit code.
func run(env environment) int {
	root := newCommand(env)
	root.SetArgs(env.args)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	err := root.Execute()
	_, reported := errors.AsType[checkResult](err)
	if err != nil && !errors.Is(err, errAborted) && !reported {
		fmt.Fprintln(env.stderr, commandline.Sentence("proxy-client", err))
	}
	return exitCode(err)
}

// exitCode returns the exit code of an error, as README promises it.
func exitCode(err error) int {
	_, inside := errors.AsType[*dialer.InsideShootError](err)
	checked, isCheck := errors.AsType[checkResult](err)
	switch {
	case err == nil:
		return exitDone
	case isCheck:
		return int(checked)
	case errors.Is(err, errAborted):
		return exitAborted
	case inside, flagset.IsUsage(err):
		return exitUsage
	default:
		return exitFailed
	}
}

// newCommand returns the root command, which serves, with its subcommands.
func newCommand(env environment) *cobra.Command {
	flags := options.NewProxyClient()
	root := &cobra.Command{
		Use:   "proxy-client",
		Short: "Tunnel redirected connections into the shoot",
		Long: "proxy-client takes the connections that init-redirect's rules send to it and tunnels each\n" +
			"through a konnectivity proxy-server to where its app wanted it to go.\n\n" +
			"Every flag can also come from the environment, --dial-timeout as PROXY_CLIENT_DIAL_TIMEOUT;\n" +
			"the flag wins. SIGTERM and SIGINT drain, a second one ends at once.",
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := commandline.ApplyVariables(cmd, options.ProxyClientPrefix, env.variables); err != nil {
				return err
			}
			cfg, err := flags.Config()
			if err != nil {
				return flagset.NameVariable(cmd.Flags(), err)
			}
			s := &sidecar{
				environment: env, cfg: cfg, settings: settingsOf(cmd.Flags(), flags.Names()),
				log: cfg.Log.Logger(env.stderr), drains: make(chan string, 1),
			}
			return untilSignalled(env.signals, s.drains, s.log, s.serve)
		},
	}
	flags.AddFlags(root.Flags())
	root.AddCommand(checkCommand(env), waitCommand(env), commandline.VersionCommand("proxy-client", commandline.VersionOf(env.version), env.stdout))
	commandline.Prepare(root)
	return root
}
