// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"flag"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfigIsRefused(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(*Config)
		mention []string
	}{
		{"no shoot CIDR", func(c *Config) { c.Shoot = nil }, []string{"shoot"}},
		{"no proxy port", func(c *Config) { c.ProxyPort = 0 }, []string{"ProxyPort", `"0"`}},
		{"root as proxy", func(c *Config) { c.ProxyUID = 0 }, []string{"ProxyUID", "root"}},
		{"no user as proxy", func(c *Config) { c.ProxyUID = math.MaxUint32 }, []string{"4294967295"}},
		{"no user excluded", func(c *Config) { c.ExcludeUIDs = []uint32{math.MaxUint32} }, []string{"4294967295"}},
		{"port 0 excluded", func(c *Config) { c.ExcludePorts = []uint16{22, 0} }, []string{"ExcludePorts", `"0"`}},
		{"host bits", func(c *Config) { c.Shoot = prefixes("10.0.0.1/8") }, []string{"10.0.0.1/8"}},
		{"host bits in an exclusion", func(c *Config) { c.Exclude = prefixes("100.64.0.1/24") }, []string{"100.64.0.1/24"}},
		{"no prefix at all", func(c *Config) { c.Shoot = []netip.Prefix{{}} }, []string{"Shoot"}},
		{"a default route", func(c *Config) { c.Shoot = prefixes("0.0.0.0/0") }, []string{"0.0.0.0/0"}},
		{"a default route in two halves", func(c *Config) { c.Shoot = prefixes("0.0.0.0/1", "128.0.0.0/1") }, []string{"Shoot"}},
		{"two halves of a /7", func(c *Config) { c.Shoot = prefixes("10.0.0.0/8", "11.0.0.0/8") }, []string{"Shoot"}},
		{"a wide IPv6 range", func(c *Config) { c.Shoot = prefixes("fd00::/15") }, []string{"Shoot"}},
		{"loopback", func(c *Config) { c.Shoot = prefixes("127.0.0.0/8") }, []string{"127.0.0.0/8"}},
		{"IPv6 loopback", func(c *Config) { c.Shoot = prefixes("::1/128") }, []string{"::1/128"}},
		{"link-local", func(c *Config) { c.Shoot = prefixes("169.254.0.0/16") }, []string{"169.254.0.0/16"}},
		{"IPv6 link-local", func(c *Config) { c.Shoot = prefixes("fe80::/64") }, []string{"fe80::/64"}},
		{"multicast", func(c *Config) { c.Shoot = prefixes("224.0.0.0/8") }, []string{"224.0.0.0/8"}},
		{"everything excluded", func(c *Config) { c.Exclude = prefixes("100.64.0.0/10") }, []string{"Exclude"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := configFor("100.64.0.0/12")
			test.change(&cfg)
			rules, err := Build(cfg)
			var refused *ConfigError
			if !errors.As(err, &refused) {
				t.Fatalf("a configuration that no machine can make sense of was accepted: %v, error %v", rules, err)
			}
			for _, word := range test.mention {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the sentence does not mention %q: %s", word, err)
				}
			}
		})
	}
}

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRulesetIsGolden(t *testing.T) {
	ports := []uint16{9443, 22, 22}
	for p := range uint16(16) {
		ports = append(ports, 30000+p)
	}
	for _, test := range []struct {
		name string
		cfg  Config
	}{
		{"ipv4", configFor("100.64.0.0/12", "100.104.0.0/13")},
		{"ipv6", configFor("fd00:10::/48")},
		{"dual", configFor("fd00:10::/48", "100.64.0.0/12", "10.250.0.0/17", "10.250.128.0/17")},
		{"exclusions", Config{
			Shoot:        prefixes("100.64.0.0/12", "fd00:10::/48"),
			Exclude:      prefixes("100.64.0.10/32", "fd00:10:0:1::/64", "203.0.113.0/24"),
			ExcludePorts: ports, ExcludeUIDs: []uint32{2000, 0, 15001},
			ProxyPort: 15099, ProxyUID: 15001, ProbePort: 23456,
		}},
		{"family-excluded", Config{
			Shoot: prefixes("100.64.0.0/12", "fd00:10::/48"), Exclude: prefixes("fd00:10::/48"),
			ProxyPort: 14001, ProxyUID: 14001,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules, err := Build(test.cfg)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", test.name+".rules")
			if *update {
				if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), rules.String()); diff != "" {
				t.Errorf("the rules changed (-golden +built); if that is meant, run go test -update:\n%s", diff)
			}
		})
	}
}

func TestEqualWishesAreEqualRules(t *testing.T) {
	a := Config{Shoot: prefixes("100.64.0.0/13", "100.72.0.0/13"), ExcludePorts: []uint16{80, 22}, ProxyPort: 1, ProxyUID: 2}
	b := Config{Shoot: prefixes("100.64.0.0/12", "100.65.0.0/16"), ExcludePorts: []uint16{22, 80, 22}, ProxyPort: 1, ProxyUID: 2}
	rulesA, errA := Build(a)
	rulesB, errB := Build(b)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if diff := cmp.Diff(rulesA.String(), rulesB.String()); diff != "" {
		t.Errorf("the same wish, written differently, gives other rules, so a restart would rewrite them:\n%s", diff)
	}
}
