// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/webhook/internal/kubeconfig"
)

// addKubeconfig adds the flag for the API server.
func addKubeconfig(flags *pflag.FlagSet, kubeconfig *string) {
	flags.Var(flagset.FilledValue(kubeconfig), "kubeconfig", "`file` that says where the API server is; without, the pod's own service account does")
}

// cluster returns the configuration of the API server, with a user agent that has the
// webhook's version.
func cluster(kubeconfig, version string) (*rest.Config, error) {
	config, err := findCluster(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "shoot-proxy-webhook/" + version
	return config, nil
}

// findCluster returns the configuration of the API server: from a kubeconfig file, or
// from the pod's ServiceAccount if no file is given.
func findCluster(file string) (*rest.Config, error) {
	if file != "" {
		return kubeconfig.Read("--kubeconfig", file)
	}
	config, err := rest.InClusterConfig()
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		return nil, &flagset.UsageError{Flag: "--kubeconfig", Problem: "is missing: outside of a pod nothing else says where the API server is", Err: err}
	case err != nil:
		return nil, &flagset.UsageError{Problem: fmt.Sprintf("the pod's ServiceAccount token cannot be used (%v): have it mounted (automountServiceAccountToken), or set --kubeconfig", err), Err: err}
	}
	return config, nil
}
