// SPDX-License-Identifier: Apache-2.0

// Package options turns flags into a validated configuration, and back.
//
// It owns the flags of proxy-client and init-redirect: names, defaults, help,
// environment variables and every refusal that needs no network. A program
// registers them, parses, and asks for its typed configuration; whoever starts
// the programs (the webhook, the lab) fills in the same struct and renders it
// with Args, so what is rendered is what is parsed.
//
// It never dials, resolves a name, or touches a rule. What it reads are the
// files that flags name: certificates, so that a bad one is refused at start
// and not at the first connection, and the egress selector's configuration.
//
//	o := options.NewProxyClient()
//	o.AddFlags(cmd.Flags())
//	... // cobra or pflag parses
//	if err := options.ApplyEnvironment(cmd.Flags(), options.ProxyClientPrefix, os.LookupEnv); err != nil {
//		return err
//	}
//	cfg, err := o.Config()
//	if err != nil {
//		return options.NameVariable(cmd.Flags(), err)
//	}
//
// Bad input is a [*UsageError]: one sentence that names the flag and the value,
// for exit code 2. Errors of parsing become one with [FlagError], which suits
// cobra's SetFlagErrorFunc. [IsUsage] tells them from everything else.
//
// Three spellings of one value, the first that is there wins: the flag, its
// environment variable (PROXY_CLIENT_DIAL_TIMEOUT for --dial-timeout of
// proxy-client), the default. Lists are comma-separated, repeated, or both. An
// element can therefore not contain a comma.
package options
