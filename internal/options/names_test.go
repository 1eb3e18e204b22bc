// SPDX-License-Identifier: Apache-2.0

package options

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
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
