// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// settingsOf returns the flags of fs that have these names, with their values and with
// where each value comes from.
func settingsOf(fs *pflag.FlagSet, names []string) []status.Setting {
	settings := make([]status.Setting, 0, len(names))
	for _, name := range names {
		f := fs.Lookup(name)
		s := status.Setting{Flag: "--" + name, Values: []string{}, Source: status.SourceDefault}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, value := range list.GetSlice() {
				s.Values = append(s.Values, strings.TrimSpace(value))
			}
		} else if value := f.Value.String(); value != "" {
			s.Values = append(s.Values, value)
		}
		if set, variable := flagset.Origin(f); variable != "" {
			s.Source, s.Variable = status.SourceEnvironment, variable
		} else if set {
			s.Source = status.SourceFlag
		}
		settings = append(settings, s)
	}
	return settings
}

// isGiven reports whether the user has set the flag.
func isGiven(settings []status.Setting, flag string) bool {
	return slices.ContainsFunc(settings, func(s status.Setting) bool {
		return s.Flag == flag && s.Source != status.SourceDefault
	})
}

// effective adds the values in use to settings, where they differ from what was given.
func effective(settings []status.Setting, cfg *options.ProxyClientConfig, connections int, why string) []status.Setting {
	names, all := options.SettingNames(), slices.Clone(settings)
	set := func(flag, value, why string) {
		for i := range all {
			if s := &all[i]; s.Flag == flag && value != strings.Join(s.Values, ",") {
				s.Effective, s.Why = value, why
			}
		}
	}
	set(names.MaxConnections, strconv.Itoa(connections), why)
	set(options.FlagListenAddress, strings.Join(text(cfg.Listen), ","), "the loopback address of each family that has a shoot CIDR")
	if isGiven(settings, options.FlagEgressSelector) {
		from := "from the selection cluster in " + options.FlagEgressSelector
		set(names.ProxyServer, serverNames(cfg.Servers), from)
		set(names.Mode, modes(cfg.Servers), from)
		set(names.CACert, cfg.TLS.CAFile, from)
		set(names.ClientCert, cfg.TLS.CertFile, from)
		set(names.ClientKey, cfg.TLS.KeyFile, from)
		set(names.ServerName, cfg.TLS.ServerName, from)
	} else {
		set(names.Mode, modes(cfg.Servers), "over a Unix socket auto means grpc")
	}
	return all
}

func serverNames(servers []tunnel.Server) string {
	var list []string
	for _, s := range servers {
		list = append(list, s.Name)
	}
	return strings.Join(list, ",")
}

// modes returns the mode of all servers, or that of each if they differ.
func modes(servers []tunnel.Server) string {
	var list, different []string
	for _, s := range servers {
		list = append(list, fmt.Sprintf("%s (%s)", s.Name, s.Mode))
		if !slices.Contains(different, string(s.Mode)) {
			different = append(different, string(s.Mode))
		}
	}
	if len(different) == 1 {
		return different[0]
	}
	return strings.Join(list, ", ")
}
