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
