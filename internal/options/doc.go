// SPDX-License-Identifier: Apache-2.0

// Package options turns flags into a validated configuration, and back.
//
// It owns the flags of proxy-client and init-redirect: their names, defaults, help
// and environment variables. It makes every refusal that needs no network. A program
// registers the flags, parses, and asks for its typed configuration. The webhook and
// the lab, which start the programs, fill in the same struct and render it with Args,
// so the programs parse what was rendered.
//
// It never dials, resolves a name, or changes a rule. It reads the files that flags
// name. A bad certificate is therefore refused at start, and not at the first
// connection. So is a bad configuration of the egress selector.
//
//	o := options.NewProxyClient()
//	o.AddFlags(cmd.Flags())
//	... // cobra or pflag parses
//	if err := flagset.ApplyEnvironment(cmd.Flags(), options.ProxyClientPrefix, os.LookupEnv); err != nil {
//		return err
//	}
//	cfg, err := o.Config()
//	if err != nil {
//		return flagset.NameVariable(cmd.Flags(), err)
//	}
//
// Bad input is a [*flagset.UsageError]: one sentence that names the flag and the value.
//
// A value can be given in three ways, and the first of these wins: the flag, its
// environment variable (PROXY_CLIENT_DIAL_TIMEOUT for --dial-timeout of
// proxy-client), the default. Lists are comma-separated, repeated, or both, so no
// element can contain a comma.
package options
