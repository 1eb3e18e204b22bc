// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
)

// openLimit limits the time until the page answers.
const openLimit = 30 * time.Second

// maxConfiguration is more than any configuration has, in bytes.
const maxConfiguration = 1 << 20

// pageCommand returns the command that makes a pod's status page reachable.
func pageCommand(to *cluster, env environment) *cobra.Command {
	var port, remote int
	cmd := &cobra.Command{
		Use:   "page POD",
		Short: "Make the status page of a pod's sidecar reachable from this machine",
		Long: "page forwards a local port to the sidecar's admin address, and prints the page's URL. It ends with Ctrl-C.\n" +
			"It does what 'kubectl port-forward POD 14000' does.",
		Args: onePod,
		RunE: func(cmd *cobra.Command, args []string) error {
			if port < 0 || port > 65535 {
				return &flagset.UsageError{Flag: "--port", Value: fmt.Sprint(port), Problem: "is no port: write a number up to 65535, or 0 for any that is free"}
			}
			if remote < 1 || remote > 65535 {
				return &flagset.UsageError{Flag: "--admin-port", Value: fmt.Sprint(remote), Problem: "is no port: write a number up to 65535"}
			}
			return page(cmd.Context(), to, args[0], port, remote, env)
		},
	}
	cmd.Flags().IntVar(&port, "port", defaults.AdminPort, "local `port`; 0 for any that is free")
	cmd.Flags().IntVar(&remote, "admin-port", defaults.AdminPort, "`port` of the sidecar's --admin-address")
	return cmd
}

func page(ctx context.Context, to *cluster, name string, port, remote int, env environment) error {
	access, namespace, err := to.access()
	if err != nil {
		return err
	}
	pod, err := injectedPod(ctx, access, to, namespace, name)
	if err != nil {
		return err
	}
	if err := access.Running(ctx, pod); err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	forwarding, err := access.Forward(opening, pod, port, remote)
	if err != nil {
		return err
	}
	defer forwarding.Close()
	if _, err := forwarding.Get(opening, "/configuration", maxConfiguration); err != nil {
		return fmt.Errorf("the sidecar of pod %q in namespace %q does not answer on its admin address: %w", pod.Name, pod.Namespace, err)
	}
	fmt.Fprintf(env.stdout, "The status page of pod %s in namespace %s: http://%s/\nCtrl-C ends it.\n", pod.Name, pod.Namespace, forwarding.Address)
	return forwarding.Wait(ctx)
}

// onePod refuses arguments other than one pod.
func onePod(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return &flagset.UsageError{Problem: fmt.Sprintf("a pod is missing: write '%s POD'", cmd.CommandPath())}
	case len(args) > 1:
		return &flagset.UsageError{Problem: fmt.Sprintf("%q is one too many: %s takes one pod", args[1], cmd.CommandPath())}
	}
	return nil
}
