// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

// program is one invocation.
type program struct {
	env     environment
	flags   options.InitRedirect
	drain   bool
	options redirect.Options
	cidrs   *cidr.Set
	log     *slog.Logger
}

// newCommand returns the command line. Without a subcommand it applies, as the init container
// does.
func newCommand(env environment) *cobra.Command {
	p := &program{env: env}
	root := &cobra.Command{
		Use:   "init-redirect",
		Short: "Redirect a pod's connections to the shoot into proxy-client",
		Long: "Redirects the shoot's CIDRs, in the pod's own network namespace, to where proxy-client\n" +
			"listens, and shows, checks and removes what it did. Without a command it applies.",
	}
	p.flags.AddFlags(root.PersistentFlags())
	apply := p.command("apply", "Apply the rules, then verify them (the default)", p.apply)
	dump := p.command("dump", "Show our rules with counters, and the connections that they redirected", p.dump)
	p.flags.AddDumpFlags(dump.Flags())
	clean := p.command("clean", "Remove our rules, address and routes; live redirected connections break", p.clean)
	clean.Flags().BoolVar(&p.drain, "drain", false,
		"let live redirected connections end: keep an inert nat rule and the guard, and reject new ones; clean again later")
	root.Args, root.RunE = apply.Args, apply.RunE
	root.AddCommand(
		apply,
		p.command("verify", "Compare the rules with what the flags ask for (without CIDRs: with each other), and try them", p.verify),
		p.command("plan", "Print what apply would feed to iptables-restore; change nothing", p.plan),
		dump, clean,
		commandline.VersionCommand("init-redirect", commandline.VersionOf(env.version), env.stdout),
	)
	commandline.Prepare(root)
	return root
}

// command returns a subcommand: do, and what all subcommands have in common.
func (p *program) command(name, short string, do func(context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short,
		Args: commandline.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := commandline.ApplyVariables(c, options.InitRedirectPrefix, p.env.variables); err != nil {
				return err
			}
			return flagset.NameVariable(c.Flags(), named(p.cidrs, do(c.Context())))
		},
	}
}

// configure validates the flags. verify, dump and clean need no CIDRs: they read what the
// rules were made for.
func (p *program) configure(needCIDRs bool) (*options.InitRedirectConfig, error) {
	validate := p.flags.ConfigWithoutCIDRs
	if needCIDRs {
		validate = p.flags.Config
	}
	cfg, err := validate()
	if err != nil {
		return nil, err
	}
	p.cidrs = cfg.CIDRs
	p.log = cfg.Log.Logger(commandWriter{p.env.stderr})
	p.options = redirect.Options{Backend: redirect.Backend(cfg.Backend), Netns: cfg.Netns, Logger: p.log}
	for _, list := range p.cidrs.EmptyLists() {
		p.log.Warn("--exclude-cidr leaves nothing of "+list, "next", "exclude less, or leave out "+list)
	}
	return cfg, nil
}

func (p *program) apply(ctx context.Context) error {
	cfg, err := p.configure(true)
	if err != nil {
		return err
	}
	result, err := redirect.ApplyAndVerify(ctx, config(cfg), p.options)
	if err != nil {
		return err
	}
	for _, c := range result.Changes {
		p.log.Info("redirect verified", "family", c.Family, "backend", c.Backend, "changed", c.Script != "" || len(c.Reach) > 0,
			"proxy_port", cfg.ProxyPort, "reach", c.Reach)
	}
	return nil
}

func (p *program) verify(ctx context.Context) error {
	if err := p.flags.NeedsNoCIDRs(); err != nil {
		return err
	}
	cfg, err := p.configure(false)
	if err != nil {
		return err
	}
	if cfg.CIDRs == nil {
		return p.verifyInstalled(ctx)
	}
	if err := redirect.Verify(ctx, config(cfg), p.options); err != nil {
		return err
	}
	p.log.Info("redirect verified", "proxy_port", cfg.ProxyPort)
	return nil
}

// verifyInstalled verifies the rules without CIDRs. It logs what they were made for, also if
// they are wrong.
func (p *program) verifyInstalled(ctx context.Context) error {
	installed, err := redirect.VerifyInstalled(ctx, p.options)
	if installed != nil {
		p.log.Info("the rules that stand ask for", "shoot", installed.Shoot, "exclude", installed.Exclude,
			"exclude_ports", redirect.Ranges(installed.ExcludePorts), "exclude_uids", installed.ExcludeUIDs,
			"proxy_port", installed.ProxyPort, "proxy_uid", installed.ProxyUID, "backends", installed.Backends)
	}
	if err != nil {
		return err
	}
	p.log.Info("redirect verified", "proxy_port", installed.ProxyPort)
	return nil
}

func (p *program) plan(ctx context.Context) error {
	cfg, err := p.configure(true)
	if err != nil {
		return err
	}
	result, err := redirect.Plan(ctx, config(cfg), p.options)
	if errors.Is(err, redirect.ErrPermission) || errors.Is(err, redirect.ErrMissingBinary) {
		// For example on a laptop, where there is no pod to compare with.
		p.log.Warn("the rules that stand cannot be read, so this is the plan for a pod without any", "error", err)
		rules, err := redirect.Build(config(cfg))
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(p.env.stdout, rules)
		return err
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(p.env.stdout, result)
	return err
}

func (p *program) clean(ctx context.Context) error {
	if _, err := p.configure(false); err != nil {
		return err
	}
	cleaned, err := redirect.Clean(ctx, p.options, redirect.CleanOptions{Drain: p.drain})
	if err != nil {
		return err
	}
	for _, what := range cleaned.Removed {
		p.log.Info("removed", "what", what)
	}
	if len(cleaned.Removed) == 0 {
		p.log.Info("nothing to remove")
	}
	return nil
}
