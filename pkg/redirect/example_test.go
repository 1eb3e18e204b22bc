// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect_test

import (
	"errors"
	"fmt"
	"log"
	"net/netip"

	"github.com/shoot-proxy/proxy-client/pkg/redirect"
)

// Build returns the rules as data. It looks at no machine and needs no privilege.
func ExampleBuild() {
	rules, err := redirect.Build(redirect.Config{
		Shoot:        []netip.Prefix{netip.MustParsePrefix("100.64.0.0/12")},
		ExcludePorts: []uint16{22},
		ProxyPort:    14001,
		ProxyUID:     14001,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, family := range rules.Families {
		for _, chain := range family.Chains {
			if chain.Table != "nat" {
				continue
			}
			for _, rule := range chain.Rules {
				fmt.Println(chain.Name, rule)
			}
		}
	}
	// The first two rules are for the connections of Verify.

	// Output:
	// PROXY_CLIENT_OUTPUT -d 192.0.2.1/32 -p tcp -m tcp --dport 23469 -j PROXY_CLIENT_REDIRECT
	// PROXY_CLIENT_OUTPUT -d 100.64.0.0/32 -p tcp -m tcp --dport 23469 -j PROXY_CLIENT_REDIRECT
	// PROXY_CLIENT_OUTPUT -m owner --uid-owner 14001 -j RETURN
	// PROXY_CLIENT_OUTPUT -o lo -j RETURN
	// PROXY_CLIENT_OUTPUT -p tcp -m tcp --dport 22 -j RETURN
	// PROXY_CLIENT_OUTPUT -d 100.64.0.0/12 -p tcp -j PROXY_CLIENT_REDIRECT
	// PROXY_CLIENT_REDIRECT -p tcp -j REDIRECT --to-ports 14001
}

// A refused configuration names the field at fault, so that the caller can translate it
// into the setting of its own users.
func ExampleConfig_Validate() {
	settings := map[string]string{"Shoot": "shootCIDRs", "ProxyPort": "port"}

	err := redirect.Config{
		Shoot:    []netip.Prefix{netip.MustParsePrefix("100.64.0.0/12")},
		ProxyUID: 14001,
	}.Validate()
	if refused, ok := errors.AsType[*redirect.ConfigError](err); ok {
		fmt.Printf("setting %s: %s %s\n", settings[refused.Field], refused.Value, refused.Problem)
	}

	// Output:
	// setting port: 0 is not a port anything can listen on: give one from 1 to 65535
}
