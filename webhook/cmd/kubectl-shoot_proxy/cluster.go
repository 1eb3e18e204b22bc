// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc" // for kubeconfigs with this provider
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/spelling"
	"github.com/shoot-proxy/proxy-client/internal/yamlsyntax"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/installation"
	"github.com/shoot-proxy/proxy-client/webhook/sidecar"
)

// cluster is the cluster that the flags name. Flags and files have the meaning that they
// have for kubectl.
type cluster struct {
	version    string
	kubeconfig string
	overrides  clientcmd.ConfigOverrides
	namespaces []string
	flags      *pflag.FlagSet
}

// add adds the flags.
func (c *cluster) add(flags *pflag.FlagSet) {
	c.flags = flags
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "kubeconfig `file`; without, $KUBECONFIG or ~/.kube/config")
	flags.StringVar(&c.overrides.CurrentContext, "context", "", "`name` of the kubeconfig's context")
	flags.StringVar(&c.overrides.Context.Cluster, "cluster", "", "`name` of the kubeconfig's cluster")
	flags.StringVar(&c.overrides.Context.AuthInfo, "user", "", "`name` of the kubeconfig's user")
	flags.StringVar(&c.overrides.AuthInfo.Impersonate, "as", "", "`user` to act as")
	flags.StringSliceVar(&c.overrides.AuthInfo.ImpersonateGroups, "as-group", nil, "`group` to act as; with --as")
	flags.StringSliceVarP(&c.namespaces, "namespace", "n", nil, "`namespace`; for a pod without, the context's. For check without a pod: comma-separated, all by default")
}

// loaded is what the kubeconfig says.
type loaded struct {
	config    *rest.Config
	namespace string
}

// access returns the way to pods, and the namespace that is meant.
func (c *cluster) access() (access *sidecar.Access, namespace string, err error) {
	if len(c.namespaces) > 1 {
		return nil, "", &flagset.UsageError{Flag: "--namespace", Value: strings.Join(c.namespaces, ","), Problem: "has several namespaces, and a pod is in one: name one"}
	}
	for _, namespace := range c.namespaces {
		if err := installation.CheckNamespace(namespace); err != nil {
			return nil, "", err
		}
	}
	l, err := c.load()
	if err != nil {
		return nil, "", err
	}
	access, err = sidecar.New(l.config)
	return access, l.namespace, err
}

// load reads the kubeconfig files.
func (c *cluster) load() (*loaded, error) {
	if c.flags.Changed("kubeconfig") && c.kubeconfig == "" {
		return nil, &flagset.UsageError{Flag: "--kubeconfig", Problem: "is empty: write a file's name, or leave the flag out"}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath, rules.WarnIfAllMissing = c.kubeconfig, false
	if len(c.namespaces) > 0 {
		c.overrides.Context.Namespace = c.namespaces[0]
	}
	from := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &c.overrides)
	raw, err := from.RawConfig()
	if err != nil {
		return nil, c.unreadable(err)
	}
	if err := c.checkNames(&raw); err != nil {
		return nil, err
	}
	config, err := from.ClientConfig()
	if err != nil {
		return nil, c.unusable(&raw, err)
	}
	namespace, _, err := from.Namespace()
	if err != nil {
		return nil, c.unusable(&raw, err)
	}
	config.UserAgent = file + "/" + c.version
	config.QPS, config.Burst = 50, 100
	return &loaded{config: config, namespace: namespace}, nil
}

// unreadable returns the error for files that cannot be read.
func (c *cluster) unreadable(err error) error {
	if c.kubeconfig != "" {
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			return flagset.Unreadable("--kubeconfig", c.kubeconfig, path)
		}
		return &flagset.UsageError{Flag: "--kubeconfig", Value: c.kubeconfig, Problem: "is no kubeconfig: " + yamlsyntax.OneLine(err.Error()), Err: err}
	}
	return &flagset.UsageError{Problem: fmt.Sprintf("the kubeconfig cannot be read (%s): correct it, or name another with --kubeconfig", yamlsyntax.OneLine(err.Error())), Err: err}
}

// checkNames refuses names that the kubeconfig does not have.
func (c *cluster) checkNames(raw *api.Config) error {
	for _, given := range []struct {
		flag, name string
		known      []string
	}{
		{"--context", c.overrides.CurrentContext, slices.Sorted(maps.Keys(raw.Contexts))},
		{"--cluster", c.overrides.Context.Cluster, slices.Sorted(maps.Keys(raw.Clusters))},
		{"--user", c.overrides.Context.AuthInfo, slices.Sorted(maps.Keys(raw.AuthInfos))},
	} {
		if given.name == "" || slices.Contains(given.known, given.name) {
			continue
		}
		there := "the kubeconfig has none: name another with --kubeconfig"
		if len(given.known) > 0 {
			there = spelling.Question(given.name, given.known, "there are "+strings.Join(given.known, ", "))
		}
		return &flagset.UsageError{Flag: given.flag, Value: given.name, Problem: "is not in the kubeconfig: " + there}
	}
	return nil
}

// unusable returns the error for a kubeconfig that says too little.
func (c *cluster) unusable(raw *api.Config, err error) error {
	contexts := slices.Sorted(maps.Keys(raw.Contexts))
	current := cmp.Or(c.overrides.CurrentContext, raw.CurrentContext)
	problem := ""
	switch {
	case len(contexts) == 0 && clientcmd.IsEmptyConfig(err):
		where := "$KUBECONFIG or ~/.kube/config"
		if files := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); files != "" {
			where = fmt.Sprintf("KUBECONFIG %q", files)
		}
		problem = "no kubeconfig names a cluster, in " + where + ": log in to the cluster, or name a file with --kubeconfig"
	case current == "":
		problem = "the kubeconfig has no current context: name one with --context, of " + strings.Join(contexts, ", ")
	case raw.Contexts[current] == nil:
		problem = fmt.Sprintf("the kubeconfig's current context %q is not in it: name one with --context, of %s", current, strings.Join(contexts, ", "))
	default:
		said := strings.Trim(strings.TrimPrefix(yamlsyntax.OneLine(err.Error()), "invalid configuration: "), "[]")
		problem = fmt.Sprintf("the kubeconfig's context %q cannot be used (%s): try it with 'kubectl version'", current, said)
	}
	if c.kubeconfig != "" {
		return &flagset.UsageError{Flag: "--kubeconfig", Value: c.kubeconfig, Problem: "cannot be used: " + problem, Err: err}
	}
	return &flagset.UsageError{Problem: problem, Err: err}
}
