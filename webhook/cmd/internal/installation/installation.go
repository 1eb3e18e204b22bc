// SPDX-License-Identifier: Apache-2.0

// Package installation is the command "check" of an installation as a whole, which two
// programs have: webhook and kubectl-shoot_proxy. It has the command's flags, prints the
// report, and writes the bundle. The programs know how to come to the cluster.
//
//	var check installation.Check
//	check.AddFlags(cmd.Flags())
//	…
//	if err := check.Validate(); err != nil {
//		return err
//	}
//	err := check.Run(ctx, installation.Environment{Cluster: restConfig, Program: "webhook", Version: "v1.2.3", Stdout: os.Stdout, Stderr: os.Stderr})
package installation

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/webhook/bundle"
	"github.com/shoot-proxy/proxy-client/webhook/cmd/internal/program"
	"github.com/shoot-proxy/proxy-client/webhook/inspect"
	"github.com/shoot-proxy/proxy-client/webhook/internal/kubeconfig"
	"github.com/shoot-proxy/proxy-client/webhook/shoot"
)

// Check are the flags of check.
type Check struct {
	// Namespaces are those whose pods are looked at. Without one, all are. AddFlags adds
	// no flag for them.
	Namespaces []string

	output  string
	timeout time.Duration
	shoot   string // the kubeconfig file of the shoot
	bundle  string // the file
	flags   *pflag.FlagSet
}

// Environment is what the calling program knows.
type Environment struct {
	// Cluster is the seed's API server, with the caller's identity.
	Cluster          *rest.Config
	Program, Version string
	Stdout, Stderr   io.Writer
}

// outputs are the values of --output.
var outputs = []string{"text", "json"}

// AddFlags adds the flags.
func (c *Check) AddFlags(flags *pflag.FlagSet) {
	c.flags = flags
	flags.StringVarP(&c.output, "output", "o", "text", "`format` of the report: text or json")
	flags.DurationVar(&c.timeout, "timeout", 2*time.Minute, "how `long` it may take; a bundle has its own time")
	flags.StringVar(&c.shoot, "shoot-kubeconfig", "", "kubeconfig `file` of the shoot: check also whether the ranges hold its nodes, pods and Services")
	flags.StringVar(&c.bundle, "bundle", "", "also write a `file` for maintainers, such as bundle.tar.gz: without Secrets, keys and values of environment variables")
}

// Validate refuses bad flags before a cluster is asked.
func (c *Check) Validate() error {
	for _, name := range c.Namespaces {
		if err := CheckNamespace(name); err != nil {
			return err
		}
	}
	if err := CheckOutput(c.output); err != nil {
		return err
	}
	if err := CheckTimeout(c.timeout); err != nil {
		return err
	}
	if c.flags.Changed("bundle") {
		if err := bundle.CheckFile(c.bundle); err != nil {
			return err
		}
	}
	if c.flags.Changed("shoot-kubeconfig") {
		_, err := kubeconfig.Read("--shoot-kubeconfig", c.shoot)
		return err
	}
	return nil
}

// Output returns the value of --output.
func (c *Check) Output() string { return c.output }

// Timeout returns the value of --timeout.
func (c *Check) Timeout() time.Duration { return c.timeout }

// CheckNamespace refuses a value of --namespace that no namespace can have.
func CheckNamespace(name string) error {
	if len(validation.IsDNS1123Label(name)) > 0 {
		return &flagset.UsageError{Flag: "--namespace", Value: name, Problem: "is not a namespace's name: write lower case letters, digits and -"}
	}
	return nil
}

// CheckOutput refuses an unknown value of --output.
func CheckOutput(output string) error {
	if !slices.Contains(outputs, output) {
		return &flagset.UsageError{Flag: "--output", Value: output, Problem: "is not known: write text or json"}
	}
	return nil
}

// CheckTimeout refuses a value of --timeout that makes no sense.
func CheckTimeout(timeout time.Duration) error {
	if timeout <= 0 || timeout > time.Hour {
		return &flagset.UsageError{Flag: "--timeout", Value: timeout.String(), Problem: "is not between 0s and 1h: write one such as 30s"}
	}
	return nil
}

// Run looks at the installation and prints the report. If the report has problems, the
// error is a [program.ExitError].
func (c *Check) Run(whole context.Context, env Environment) error {
	ctx, cancel := context.WithTimeoutCause(whole, c.timeout, fmt.Errorf("it took longer than %s: give a longer --timeout, or some namespaces with --namespace", c.timeout))
	defer cancel()
	report, err := inspect.Run(ctx, inspect.Config{Cluster: env.Cluster, Namespaces: c.Namespaces, Version: env.Version})
	if err != nil {
		return err
	}
	if c.shoot != "" {
		cluster, err := kubeconfig.Read("--shoot-kubeconfig", c.shoot)
		if err != nil {
			return err
		}
		report.Add(shoot.Check(ctx, cluster, report.Shoots)...)
		if ctx.Err() != nil {
			return fmt.Errorf("look at the shoot: %w", context.Cause(ctx))
		}
	}
	if err := c.print(report, env.Stdout); err != nil {
		return err
	}
	if c.bundle != "" {
		contents, err := bundle.Write(whole, bundle.Config{
			File: c.bundle, Cluster: env.Cluster, Report: report, Program: env.Program + " " + env.Version, Namespaces: c.Namespaces,
		})
		if err != nil {
			return err
		}
		if _, err := io.WriteString(env.Stderr, contents.String()); err != nil {
			return err
		}
	}
	return program.Exit(report.ExitCode())
}

func (c *Check) print(report *inspect.Report, out io.Writer) error {
	if c.output != "json" {
		return report.WriteText(out)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}
