// SPDX-License-Identifier: Apache-2.0

package options

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestSettingNamesAreFlags: each setting that an error asks a person to change is a flag of
// proxy-client or of init-redirect.
func TestSettingNamesAreFlags(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	NewProxyClient().AddFlags(flags)
	others := pflag.NewFlagSet("", pflag.ContinueOnError)
	NewInitRedirect().AddFlags(others)
	flags.AddFlagSet(others)
	names := reflect.ValueOf(SettingNames())
	for i := range names.NumField() {
		if names.Field(i).Kind() == reflect.Map && names.Field(i).IsNil() {
			continue // Modes: no flag has another one's value
		}
		name := names.Field(i).String()
		if flag, dashes := strings.CutPrefix(name, "--"); !dashes || flags.Lookup(flag) == nil {
			t.Errorf("the setting %s is named %q, which is no flag", names.Type().Field(i).Name, name)
		}
	}
}

// TestNamesOfSettings: a setting is named by the flag that gives it, or by the field of the
// egress selector's configuration.
func TestNamesOfSettings(t *testing.T) {
	inFolderWithFiles(t)
	const field = "--egress-selector-config-file's "
	for _, tt := range []struct {
		name             string
		args             []string
		bundle, identity string
	}{
		{"flags", []string{tcp, ca}, "--ca-cert", "--server-name"},
		{"a file", []string{"--egress-selector-config-file=connect-tcp.yaml"}, field + "caBundle", field + "tlsServerName"},
		{"a file and a flag", []string{"--egress-selector-config-file=connect-tcp.yaml", "--server-name=x"}, field + "caBundle", "--server-name"},
	} {
		cfg, err := parse(theProxy, append(tt.args, pods), nil)
		if err != nil {
			t.Fatal(err)
		}
		if names := cfg.(*ProxyClientConfig).Names; names.CACert != tt.bundle || names.ServerName != tt.identity || names.ExitCACert != "--exit-ca-cert" {
			t.Errorf("%s: the names are %+v", tt.name, names)
		}
	}
}

// TestSettingsOfModes: a mode is set by --mode, or by what the egress selector's configuration
// has for it. That has neither GRPC over TCP nor standard proxies.
func TestSettingsOfModes(t *testing.T) {
	inFolderWithFiles(t)
	const (
		field   = "--egress-selector-config-file's proxyProtocol="
		instead = " in place of --egress-selector-config-file"
	)
	for _, tt := range []struct {
		name, is, grpc, connect, standard string
		args                              []string
	}{
		{"TCP", "--mode=auto", "--mode=grpc, or auto", "--mode=http-connect, or auto", "--mode=https-proxy, or auto", []string{tcp, ca}},
		{"a Unix socket", "--mode=grpc", "--mode=grpc", "--mode=http-connect", "--mode=https-proxy", []string{socket}},
		{
			"a file with TCP", field + "HTTPConnect", "--proxy-server with --mode=grpc" + instead, field + "HTTPConnect", "--proxy-server with --mode=https-proxy" + instead,
			[]string{"--egress-selector-config-file=connect-tcp.yaml"},
		},
		{
			"a file with a Unix socket", field + "GRPC", field + "GRPC", field + "HTTPConnect", "--proxy-server with --mode=https-proxy" + instead,
			[]string{"--egress-selector-config-file=grpc-uds.yaml"},
		},
	} {
		cfg, err := parse(theProxy, append(tt.args, pods), nil)
		if err != nil {
			t.Fatal(err)
		}
		names, server := cfg.(*ProxyClientConfig).Names, cfg.(*ProxyClientConfig).Servers[0]
		got := []string{names.ModeIs(server.Mode), names.OtherMode(server, tunnel.ModeGRPC), names.OtherMode(server, tunnel.ModeHTTPConnect), names.OtherMode(server, tunnel.ModeHTTPSProxy)}
		if diff := cmp.Diff([]string{tt.is, tt.grpc, tt.connect, tt.standard}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
