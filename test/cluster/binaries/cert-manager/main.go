// SPDX-License-Identifier: Apache-2.0

// Command cert-manager runs cert-manager's own controllers in one process. Some issue
// certificates from self-signed issuers and from issuers with a CA. One writes a CA into
// webhook configurations.
//
// It exists because the module proxy does not have cert-manager's commands. Each has been
// a module of its own since v1.12, with a replace directive and without a version. The
// controllers are packages of the main module. ACME, Vault and Venafi, the validating
// webhook, and the election of a leader are missing here.
//
// It finds the cluster as each pod does, by the flag --kubeconfig, or by the
// environment's KUBECONFIG.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	flag.Parse() // controller-runtime has defined --kubeconfig
	ctrl.SetLogger(klog.Background())
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cert-manager:", err)
		os.Exit(1)
	}
}

// run returns once a controller has ended, or once ctx and all controllers have ended.
func run(ctx context.Context) error {
	kubeconfig := cmp.Or(flag.Lookup("kubeconfig").Value.String(), os.Getenv("KUBECONFIG"))
	group, ctx := errgroup.WithContext(ctx)
	if err := startInjector(ctx, group); err != nil {
		return fmt.Errorf("start the injector of CAs: %w", err)
	}
	if err := startIssuing(ctx, kubeconfig, group); err != nil {
		return fmt.Errorf("start the controllers of certificates: %w", err)
	}
	return group.Wait()
}
