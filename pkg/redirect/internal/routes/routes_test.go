// SPDX-License-Identifier: Apache-2.0

//go:build linux

package routes

import (
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
)

func TestOwnAddressesAreRecognised(t *testing.T) {
	for _, f := range []family.Family{family.IPv4, family.IPv6} {
		for _, a := range OwnAddresses(f) {
			if !IsOwnAddress(a) || a.Is4() != (f == family.IPv4) {
				t.Errorf("%s is not recognised as ours, so clean would leave it", a)
			}
		}
	}
}
