// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/installation"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/program"
	"github.com/shoot-proxy/proxy-client/webhook/sidecar"
)

// dumpCommand returns the command that shows a pod's rules.
func dumpCommand(to *cluster, env environment) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "dump POD [-- FLAGS]",
		Short: "Show and explain the rules in a pod, and what they redirect",
		Long: "dump adds a container to the running pod, like its init-redirect: with the same image, user and capability.\n" +
			"There it runs 'init-redirect dump --explain', with the flags that init-redirect has. Flags behind -- are added,\n" +
			"such as '-- --to 100.64.3.7:9100'. It does not take --watch, which would go on in the pod. Kubernetes keeps the\n" +
			"container's entry in the pod until the pod's end.",
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				args = args[:dash]
			}
			return onePod(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := installation.CheckTimeout(timeout); err != nil {
				return err
			}
			if err := checkDumpFlags(args[1:]); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("%s are over", timeout))
			defer cancel()
			return dump(ctx, to, args[0], args[1:], env)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how `long` it may take")
	return cmd
}

func dump(ctx context.Context, to *cluster, name string, more []string, env environment) error {
	access, namespace, err := to.access()
	if err != nil {
		return err
	}
	pod, err := injectedPod(ctx, access, to, namespace, name)
	if err != nil {
		return err
	}
	// The rules are in the pod also if the sidecar does not run.
	if err := sidecar.Placed(pod); err != nil {
		return err
	}
	args := append([]string{"dump", "--explain"}, sidecar.Flags(pod)...)
	code, err := access.Debug(ctx, pod, append(args, more...), env.stdout)
	if err != nil {
		return err
	}
	return program.Exit(code)
}
