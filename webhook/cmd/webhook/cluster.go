// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/yamlsyntax"
)

// addKubeconfig adds the flag for the API server.
func addKubeconfig(flags *pflag.FlagSet, kubeconfig *string) {
	flags.Var((*filled)(kubeconfig), "kubeconfig", "`file` that says where the API server is; without, the pod's own service account does")
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
func findCluster(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		return readKubeconfig(kubeconfig)
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

// readKubeconfig reads a kubeconfig file.
func readKubeconfig(name string) (*rest.Config, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, flagset.Unreadable("--kubeconfig", name, err)
	}
	refuse := func(problem string, err error) error {
		return &flagset.UsageError{Flag: "--kubeconfig", Value: name, Problem: problem, Err: err}
	}
	var object struct {
		Kind string `yaml:"kind"`
	}
	if err := yaml.Unmarshal(data, &object); err != nil {
		return nil, refuse(yamlsyntax.Problem(err, data), err)
	}
	if object.Kind != "Config" {
		return nil, refuse(fmt.Sprintf("has kind %q, and a kubeconfig has Config: 'kubectl config view --raw --minify' writes one", object.Kind), nil)
	}
	config, err := clientcmd.BuildConfigFromFlags("", name)
	if clientcmd.IsEmptyConfig(err) {
		return nil, refuse("names no cluster: 'kubectl config view --raw --minify' writes one that does", err)
	}
	if err != nil {
		said := strings.Trim(strings.TrimPrefix(yamlsyntax.OneLine(err.Error()), "invalid configuration: "), "[]")
		return nil, refuse(fmt.Sprintf("cannot be used (%s): try it with 'kubectl --kubeconfig %s version'", said, name), err)
	}
	return config, nil
}
