// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/webhook/inspect"
)

// checkFlags are the flags of check.
type checkFlags struct {
	namespaces []string
	all        bool
	output     string
	timeout    time.Duration
	kubeconfig string
}

// outputs are the values of --output.
var outputs = []string{"text", "json"}

// checkCommand returns the command that looks at an installation as a whole. version is
// the program's.
func checkCommand(version string, env environment) *cobra.Command {
	f := &checkFlags{}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look at an installation as a whole, and say what is wrong",
		Long: "check looks at the webhook of a cluster, at the pods with the label, and at what these need, with the rights\n" +
			"of the kubeconfig. It changes nothing. Each finding says what is wrong, on which object, and what to do next.\n\n" +
			"Exit code 0 means that all is well, 1 that something does not work, 3 that there are only warnings, or that\n" +
			"something could not be looked at.",
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd.Flags().Changed("all")); err != nil {
				return err
			}
			return f.run(cmd.Context(), version, env)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVarP(&f.namespaces, "namespace", "n", nil, "`namespace` whose pods are looked at. Comma-separated, repeated, or both; all by default")
	flags.BoolVar(&f.all, "all", false, "look at all namespaces, which is the default")
	flags.StringVarP(&f.output, "output", "o", "text", "`format` of the report: text or json")
	flags.DurationVar(&f.timeout, "timeout", 2*time.Minute, "how `long` it may take")
	addKubeconfig(flags, &f.kubeconfig)
	flags.Lookup("kubeconfig").Usage = "`file` that says where the API server is; without, $KUBECONFIG, ~/.kube/config, or the pod's own service account"
	return cmd
}

// check refuses bad flags before the cluster is asked.
func (f *checkFlags) check(all bool) error {
	for _, name := range f.namespaces {
		if err := checkNamespace(name); err != nil {
			return err
		}
	}
	switch {
	case all && f.all && len(f.namespaces) > 0:
		return &flagset.UsageError{Flag: "--all", Problem: "is set beside --namespace: leave one of the two out"}
	case !slices.Contains(outputs, f.output):
		return &flagset.UsageError{Flag: "--output", Value: f.output, Problem: "is not known: write text or json"}
	case f.timeout <= 0 || f.timeout > time.Hour:
		return &flagset.UsageError{Flag: "--timeout", Value: f.timeout.String(), Problem: "is not between 0s and 1h: write one such as 30s"}
	}
	return nil
}

func (f *checkFlags) run(ctx context.Context, version string, env environment) error {
	cluster, err := cluster(f.file(), version)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("it took longer than %s: give a longer --timeout, or some namespaces with --namespace", f.timeout))
	defer cancel()
	report, err := inspect.Run(ctx, inspect.Config{Cluster: cluster, Namespaces: f.namespaces, Version: version})
	if err != nil {
		return err
	}
	if f.output == "json" {
		encoder := json.NewEncoder(env.stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = report.WriteText(env.stdout)
	}
	if code := report.ExitCode(); err == nil && code != exitDone {
		return exitError(code)
	}
	return err
}

// file returns the kubeconfig file: the flag's, or the one that kubectl would use.
// Without one it returns "".
func (f *checkFlags) file() string {
	if f.kubeconfig != "" {
		return f.kubeconfig
	}
	if first, _, _ := strings.Cut(os.Getenv("KUBECONFIG"), string(os.PathListSeparator)); first != "" {
		return first
	}
	if home, err := os.UserHomeDir(); err == nil {
		if name := filepath.Join(home, ".kube", "config"); isFile(name) {
			return name
		}
	}
	return ""
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// exitError ends the program with a code. What it is about is already written.
type exitError int

// Error implements error.
func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
