// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// TestConfigErrorNamesAField: a program that imports this package knows the fields of
// Config, and no flag of ours.
func TestConfigErrorNamesAField(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg   Config
		field string
	}{
		"nothing but proxy":        {Config{ProxyPort: 14001, ProxyUID: 14001}, "Shoot"},
		"exclusions alone":         {Config{Exclude: prefixes("10.0.0.0/8"), ProxyPort: 14001, ProxyUID: 14001}, "Shoot"},
		"no port":                  {Config{ProxyUID: 14001}, "ProxyPort"},
		"root":                     {Config{ProxyPort: 14001}, "ProxyUID"},
		"no user":                  {Config{ProxyPort: 14001, ProxyUID: math.MaxUint32}, "ProxyUID"},
		"no user excluded":         {Config{ProxyPort: 14001, ProxyUID: 14001, ExcludeUIDs: []uint32{1, math.MaxUint32}}, "ExcludeUIDs"},
		"port 0 excluded":          {Config{ProxyPort: 14001, ProxyUID: 14001, ExcludePorts: []uint16{0}}, "ExcludePorts"},
		"host bits":                {configFor("10.0.0.1/8"), "Shoot"},
		"no prefix":                {Config{Shoot: []netip.Prefix{{}}, ProxyPort: 14001, ProxyUID: 14001}, "Shoot"},
		"host bits in exclusion":   {excluding("100.64.0.1/24"), "Exclude"},
		"default route":            {configFor("0.0.0.0/0"), "Shoot"},
		"default route in halves":  {configFor("0.0.0.0/1", "128.0.0.0/1"), "Shoot"},
		"loopback":                 {configFor("127.0.0.0/8"), "Shoot"},
		"everything excluded":      {excluding("100.64.0.0/10"), "Exclude"},
		"both halves are excluded": {excluding("100.64.0.0/13", "100.72.0.0/13"), "Exclude"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.cfg.Validate()
			var refused *ConfigError
			if !errors.As(err, &refused) {
				t.Fatalf("Validate: %v, want a ConfigError", err)
			}
			if refused.Field != tt.field {
				t.Errorf("Field is %q, want %s: %v", refused.Field, tt.field, err)
			}
			if _, ok := reflect.TypeFor[Config]().FieldByName(refused.Field); !ok {
				t.Errorf("Config has no field %q: %v", refused.Field, err)
			}
			for _, ours := range []string{"--", "init-redirect", "proxy-client"} {
				if strings.Contains(err.Error(), ours) {
					t.Errorf("the sentence speaks of %q: %v", ours, err)
				}
			}
		})
	}
}

// excluding is a configuration for 100.64.0.0/12 with exclusions.
func excluding(cidrs ...string) Config {
	cfg := configFor("100.64.0.0/12")
	cfg.Exclude = prefixes(cidrs...)
	return cfg
}
