// SPDX-License-Identifier: Apache-2.0

//go:build linux

package podnetwork

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolvConf(t *testing.T) {
	file := "# nameserver 192.0.2.7\nsearch example.org\nnameserver\t10.0.0.10\nnameserver fe80::1%eth0 # ours\nnameserver none\nnameserver\noptions ndots:5"
	got, err := parseResolvConf(strings.NewReader(file), "f")
	if err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for _, n := range got {
		addresses = append(addresses, n.Address.String())
	}
	if diff := cmp.Diff([]string{"10.0.0.10", "fe80::1%eth0"}, addresses); diff != "" {
		t.Errorf("nameservers (-want +got):\n%s", diff)
	}
}
