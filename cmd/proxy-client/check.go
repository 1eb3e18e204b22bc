// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/check"
	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/check/target"
	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/internal/status"
)

// watchPause is the time between the end of a check and the begin of the next.
const watchPause = 5 * time.Second

// checkResult is the exit code of a check that has printed its report.
type checkResult int

// Error implements error. It is never printed.
func (r checkResult) Error() string { return fmt.Sprintf("the check ended with code %d", int(r)) }

// The values of --output.
const (
	outputText = "text"
	outputJSON = "json"
)

// checkFlags are the flags of the command check besides those of the sidecar.
type checkFlags struct {
	output       string
	watch, probe bool
}

// checkCommand returns the command that walks the way of a connection step by step.
func checkCommand(env environment) *cobra.Command {
	flags, own := options.NewProxyClient(), checkFlags{}
	cmd := &cobra.Command{
		Use:   "check [HOST:PORT...]",
		Short: "Say step by step what works on the way to a target, and what to do",
		Long: "check walks the way of a connection: configuration, sidecar, redirect, certificates, name, TCP, TLS,\n" +
			"mode, agent, and the targets that are given. It says which step fails, why, and what to do.\n\n" +
			"It runs in the sidecar's container, with the configuration of the running sidecar:\n\n" +
			"  kubectl exec POD -c proxy-client -- /proxy-client check 10.250.0.4:10250\n\n" +
			"A flag of the sidecar that is given here wins over the running sidecar's. With the sidecar's flags\n" +
			"no sidecar has to run. Exit codes: 0 all is well, 1 a failure, 2 bad input, 3 only warnings.",
		RunE: func(cmd *cobra.Command, args []string) error {
			given := map[string]bool{}
			cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = true })
			if err := commandline.ApplyVariables(cmd, options.ProxyClientPrefix, env.variables); err != nil {
				return err
			}
			if own.output != outputText && own.output != outputJSON {
				return flagset.NameVariable(cmd.Flags(), &flagset.UsageError{Flag: "--output", Value: own.output, Problem: "is not an output: write text or json"})
			}
			targets, err := parseTargets(args)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				select {
				case <-env.signals:
					cancel()
				case <-stop:
				}
			}()
			run := func() (*report.Report, func(), error) {
				cfg, err := checkConfig(ctx, cmd.Flags(), flags, given)
				if err != nil {
					return nil, nil, err
				}
				cfg.Version, cfg.Targets, cfg.Suspects, cfg.Probe = commandline.VersionOf(env.version), targets, own.probe, env.checkRedirect
				result, end := check.Run(ctx, cfg)
				return result, end, nil
			}
			return repeat(ctx, env.stdout, own, run)
		},
	}
	flags.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&own.output, "output", outputText, "`form` of the report: text or json")
	cmd.Flags().BoolVar(&own.watch, "watch", false, "check again every few seconds until interrupted, and say what has changed")
	cmd.Flags().BoolVar(&own.probe, "probe", false, "dial the usual targets of a shoot too: API server, DNS service, kubelets")
	cmd.SetUsageFunc(usageBesides(flags.Names()))
	return cmd
}

// usageBesides returns a function that writes the usage of a command without commands of its
// own. The flags of the sidecar have a heading of their own, below the others.
func usageBesides(sidecars []string) func(*cobra.Command) error {
	return func(cmd *cobra.Command) error {
		own, others := pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if slices.Contains(sidecars, f.Name) {
				others.AddFlag(f)
			} else {
				own.AddFlag(f)
			}
		})
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "Usage:\n  %s\n\nFlags:\n%s\nFlags of the sidecar, which win over those of the running one:\n%s",
			cmd.UseLine(), own.FlagUsages(), others.FlagUsages())
		return err
	}
}

// parseTargets reads the arguments.
func parseTargets(args []string) ([]check.Target, error) {
	var targets []check.Target
	for _, arg := range args {
		t, err := target.Parse(arg)
		if err != nil {
			return nil, &flagset.UsageError{Problem: fmt.Sprintf("the target %q %v", arg, err), Err: err}
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// repeat checks once, or until ctx ends, and prints the reports. Its error has the exit
// code of the last one.
func repeat(ctx context.Context, stdout io.Writer, own checkFlags, run func() (*report.Report, func(), error)) error {
	var last *report.Report
	for {
		result, end, err := run()
		if err != nil {
			return err
		}
		if ctx.Err() == nil || last == nil { // an interrupted check would blame what was interrupted
			err = show(stdout, own, last, result)
			last = result
		}
		end()
		if err != nil {
			return err
		}
		if own.watch {
			pause.For(ctx, watchPause)
		}
		if !own.watch || ctx.Err() != nil {
			break
		}
	}
	if last.ExitCode != report.ExitOK {
		return checkResult(last.ExitCode)
	}
	return nil
}

// show prints result. Of a repeated one it prints in text what has changed since last.
func show(stdout io.Writer, own checkFlags, last, result *report.Report) error {
	switch {
	case own.output == outputJSON && own.watch:
		return json.NewEncoder(stdout).Encode(result)
	case own.output == outputJSON:
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(result)
	case last != nil:
		return result.WriteChanges(stdout, last)
	default:
		return result.WriteText(stdout)
	}
}

// checkConfig returns the configuration to check: that of the running sidecar if one
// answers, and otherwise flags. A flag in given was given to this command, and wins.
func checkConfig(ctx context.Context, fs *pflag.FlagSet, flags *options.ProxyClient, given map[string]bool) (check.Config, error) {
	sidecar := check.Ask(ctx, strings.TrimSpace(flags.AdminAddress))
	cfg := check.Config{Sidecar: sidecar, Names: options.SettingNames(), Origin: "the flags and variables of this command"}
	effective := flags
	if sidecar.Configuration != nil {
		running, own, err := runningFlags(fs, sidecar.Configuration.Settings, given)
		if err != nil {
			return cfg, err
		}
		effective = running
		cfg.NeedsSidecar = true
		cfg.Origin = "the configuration of the running sidecar (" + flags.AdminAddress + ")"
		if len(own) > 0 {
			cfg.Origin += " and " + strings.Join(own, ", ") + " of this command"
		}
	}
	sidecar.AskHealth(ctx, strings.TrimSpace(effective.HealthAddress))
	if sidecar.Configuration == nil && !anyGiven(fs, flags.Names()) {
		cfg.NeedsSidecar, cfg.Origin = true, "no configuration"
		return cfg, nil
	}
	valid, err := effective.ConfigWithoutFiles()
	if err != nil {
		return cfg, flagset.NameVariable(fs, err)
	}
	cfg.CIDRs, cfg.Listen, cfg.Servers, cfg.TLS, cfg.Keepalive = valid.CIDRs, valid.Listen, valid.Servers, valid.TLS, valid.ServerKeepalive
	cfg.Exits, cfg.Names = valid.Exits, valid.Names
	cfg.Services, cfg.Nodes = prefixes(effective.ServiceCIDRs), prefixes(effective.NodeCIDRs)
	return cfg, nil
}

// anyGiven reports whether a flag was given that says what to check.
func anyGiven(fs *pflag.FlagSet, names []string) bool {
	where := []string{options.FlagAdminAddress, options.FlagHealthAddress, "--log-format", "--log-level"}
	return slices.ContainsFunc(names, func(name string) bool {
		return fs.Changed(name) && !slices.Contains(where, "--"+name)
	})
}

// runningFlags returns the flags of the running sidecar, with those that were given to
// this command in their place, and the names of these.
func runningFlags(fs *pflag.FlagSet, settings []status.Setting, given map[string]bool) (*options.ProxyClient, []string, error) {
	running := options.NewProxyClient()
	set := pflag.NewFlagSet("sidecar", pflag.ContinueOnError)
	running.AddFlags(set)
	var own []string
	for _, s := range settings {
		name := strings.TrimPrefix(s.Flag, "--")
		f := set.Lookup(name)
		if f == nil {
			continue // of another version
		}
		values := s.Values
		if given[name] {
			if s.Flag != options.FlagAdminAddress {
				own = append(own, s.Flag)
			}
			values = valuesOf(fs.Lookup(name))
		} else if s.Source == status.SourceDefault {
			continue
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			if err := list.Replace(values); err != nil {
				return nil, nil, fmt.Errorf("the running sidecar's %s: %w", s.Flag, err)
			}
			continue
		}
		value := strings.Join(values, ",")
		if err := set.Set(name, value); err != nil {
			return nil, nil, fmt.Errorf("the running sidecar's %s: %w", s.Flag, err)
		}
	}
	return running, own, nil
}

// valuesOf returns the elements of a list, or the one value.
func valuesOf(f *pflag.Flag) []string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{f.Value.String()}
}

// prefixes returns the values that are CIDRs. All are: the configuration is valid.
func prefixes(values []string) []netip.Prefix {
	var all []netip.Prefix
	for _, v := range values {
		if p, err := netip.ParsePrefix(strings.TrimSpace(v)); err == nil {
			all = append(all, p)
		}
	}
	return all
}
