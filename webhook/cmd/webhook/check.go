// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/installation"
)

// checkFlags are the flags of check.
type checkFlags struct {
	installation.Check
	all        bool
	kubeconfig string
}

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
			if cmd.Flags().Changed("all") && f.all && len(f.Namespaces) > 0 {
				return &flagset.UsageError{Flag: "--all", Problem: "is set beside --namespace: leave one of the two out"}
			}
			if err := f.Validate(); err != nil {
				return err
			}
			file, variable := f.file()
			config, err := cluster(file, version)
			if usage, ok := errors.AsType[*flagset.UsageError](err); ok && variable != "" {
				named := *usage
				named.Flag = variable
				return &named
			}
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT) // half a bundle is removed
			defer stop()
			return f.Run(ctx, installation.Environment{Cluster: config, Program: "webhook", Version: version, Stdout: env.stdout, Stderr: env.stderr})
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVarP(&f.Namespaces, "namespace", "n", nil, "`namespace` whose pods are looked at. Comma-separated, repeated, or both; all by default")
	flags.BoolVar(&f.all, "all", false, "look at all namespaces, which is the default")
	f.AddFlags(flags)
	addKubeconfig(flags, &f.kubeconfig)
	flags.Lookup("kubeconfig").Usage = "`file` that says where the API server is; without, $KUBECONFIG, ~/.kube/config, or the pod's own service account"
	return cmd
}

// file returns the kubeconfig file: the flag's, or the one that kubectl would use.
// Without one it returns "". variable is the environment variable that has named the file,
// if one has.
func (f *checkFlags) file() (name, variable string) {
	if f.kubeconfig != "" {
		return f.kubeconfig, ""
	}
	const kubectls = "KUBECONFIG"
	if first, _, _ := strings.Cut(os.Getenv(kubectls), string(os.PathListSeparator)); first != "" {
		return first, kubectls
	}
	if home, err := os.UserHomeDir(); err == nil {
		if name := filepath.Join(home, ".kube", "config"); isFile(name) {
			return name, ""
		}
	}
	return "", ""
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
