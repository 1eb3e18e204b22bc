// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func prefixes(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// configFor returns a configuration with nothing but shoot CIDRs, port and uid.
func configFor(shoot ...string) Config {
	return Config{Shoot: prefixes(shoot...), ProxyPort: 14001, ProxyUID: 14001}
}
