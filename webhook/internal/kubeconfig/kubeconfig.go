// SPDX-License-Identifier: Apache-2.0

// Package kubeconfig reads a kubeconfig file that a flag names. An error is a sentence that
// names the flag and the file, and says what to do.
//
//	config, err := kubeconfig.Read("--shoot-kubeconfig", "shoot.yaml")
package kubeconfig

import (
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/yamlsyntax"
)

// Read reads a kubeconfig file, and returns the access of its current context.
func Read(flag, name string) (*rest.Config, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, flagset.Unreadable(flag, name, err)
	}
	refuse := func(problem string, err error) error {
		return &flagset.UsageError{Flag: flag, Value: name, Problem: problem, Err: err}
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
