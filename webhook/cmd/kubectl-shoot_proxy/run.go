// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/program"
	"github.com/shoot-proxy/proxy-client/webhook/sidecar"
)

// The names of the plugin: of the file, and of the command.
const (
	file = "kubectl-shoot_proxy"
	name = "kubectl shoot_proxy"
)

// environment is the process's output and arguments.
type environment struct {
	args           []string
	stdout, stderr io.Writer
	version        string // empty: the version of the build information
}

// run runs the program and returns the exit code.
func run(env environment) int {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go logs what it also returns
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return report(env.stderr, program.Execute(ctx, newCommand(env), env.args, env.stdout, env.stderr))
}

// report writes an error that is not written yet, and returns the exit code.
func report(out io.Writer, err error) int {
	code := program.Report(out, name, err)
	if stopped, ok := errors.AsType[*sidecar.StoppedError](err); ok && stopped.Log != "" {
		fmt.Fprintf(out, "Its last lines:\n  %s\n", strings.ReplaceAll(stopped.Log, "\n", "\n  "))
	}
	return code
}

// newCommand returns the root command with all subcommands.
func newCommand(env environment) *cobra.Command {
	version := commandline.VersionOf(env.version)
	root := &cobra.Command{
		Use:         file,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: name},
		Short:       "Look at pods that reach a shoot through proxy-client",
		Long: "kubectl shoot_proxy says why pods do not reach a shoot: it looks at the webhook's installation as a whole,\n" +
			"and asks the sidecar in a pod. It finds the cluster as kubectl does.",
		Args: commandline.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			return &flagset.UsageError{Problem: "a command is missing: run '" + name + " --help' to see what there is"}
		},
	}
	to := &cluster{version: version}
	to.add(root.PersistentFlags())
	root.AddCommand(
		checkCommand(to, version, env),
		dumpCommand(to, env),
		pageCommand(to, env),
		commandline.VersionCommand(file, version, env.stdout),
	)
	commandline.Prepare(root)
	return root
}
