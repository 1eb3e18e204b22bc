// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/installation"
	"github.com/shoot-proxy/proxy-client/webhook/dryrun"
)

// dryRunCommand returns the command that asks a cluster for a labelled pod. version is
// the webhook's.
func dryRunCommand(version string, env environment) *cobra.Command {
	var cfg dryrun.Config
	var kubeconfig string
	cmd := &cobra.Command{
		Use:   "dry-run",
		Short: "Ask a cluster what becomes of a labelled pod",
		Long: "dry-run asks the API server for a labelled pod, as a dry run: nothing is made, and the webhook of the\n" +
			"cluster is asked as for any other pod. Exit code 0 means that the pod is injected.\n'webhook check' does the same, and looks at everything else of an installation too.",
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkDryRunFlags(cfg); err != nil {
				return err
			}
			var err error
			if cfg.Cluster, err = cluster(kubeconfig, version); err != nil {
				return err
			}
			cfg.Cluster.WarningHandler = rest.NewWarningWriter(env.stderr, rest.WarningWriterOptions{})
			sentence, err := dryrun.Run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.stdout, sentence)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.Namespace, "namespace", "default", "`namespace` of the pod")
	flags.StringVar(&cfg.Image, "image", "shoot-proxy/webhook", "`image` of the pod's container, which is never pulled")
	flags.BoolVar(&cfg.AllowRefusal, "allow-refusal", false, "exit with 0 also if the webhook answers and refuses the pod, or leaves it alone")
	flags.DurationVar(&cfg.Timeout, "timeout", 30*time.Second, "how `long` to ask again while the API server cannot reach the webhook")
	addKubeconfig(flags, &kubeconfig)
	return cmd
}

// checkDryRunFlags refuses bad flags before the cluster is asked.
func checkDryRunFlags(cfg dryrun.Config) error {
	if err := installation.CheckNamespace(cfg.Namespace); err != nil {
		return err
	}
	if err := webhook.CheckImage(cfg.Image); err != nil {
		return &flagset.UsageError{Flag: "--image", Value: cfg.Image, Problem: err.Error(), Err: err}
	}
	if cfg.Timeout <= 0 || cfg.Timeout > time.Hour {
		return &flagset.UsageError{Flag: "--timeout", Value: cfg.Timeout.String(), Problem: "is not between 0s and 1h: write one such as 30s"}
	}
	return nil
}
