// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

// Strays counts the packets for the shoot that pods of the seed send into the seed's
// network. A redirected pod sends none.
type Strays struct {
	cluster *Cluster
	table   string
}

// WatchStrays counts until the test's end.
func (r *Rig) WatchStrays(t testing.TB) *Strays {
	t.Helper()
	s := &Strays{cluster: r.Seed, table: "strays_" + strings.ToLower(rand.Text()[:8])}
	// The first hook that a packet comes to in the node, before conntrack and kube-proxy.
	rules := fmt.Sprintf(`table ip %s {
	set seen { type ipv4_addr; flags dynamic; counter; size 65535; }
	chain arriving {
		type filter hook prerouting priority -350;
		iifname "pods0" ip daddr { %s, %s, %s } update @seen { ip saddr }
	}
}`, s.table, shoot.Pods, shoot.Services, netip.PrefixFrom(shoot.Address, 32))
	if _, err := r.Seed.Node.RunWith(Context(t), strings.NewReader(rules), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := r.Seed.Node.Run(context.Background(), "nft", "delete", "table", "ip", s.table); err != nil {
			t.Error(err)
		}
	})
	return s
}

// element is how nft shows one address of the set.
var element = regexp.MustCompile(`([0-9.]+) counter packets ([0-9]+)`)

// From is the number of packets that have come from a pod's address so far.
func (s *Strays) From(t testing.TB, podIP string) int {
	t.Helper()
	out, err := s.cluster.Node.Run(Context(t), "nft", "list", "set", "ip", s.table, "seen")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range element.FindAllStringSubmatch(out, -1) {
		if match[1] != podIP {
			continue
		}
		packets, err := strconv.Atoi(match[2])
		if err != nil {
			t.Fatal(err)
		}
		return packets
	}
	return 0
}

// Seen returns the condition that a packet has come from a pod's address.
func (s *Strays) Seen(t testing.TB, podIP string) func(context.Context) error {
	return func(context.Context) error {
		if s.From(t, podIP) == 0 {
			return fmt.Errorf("none has come from %s", podIP)
		}
		return nil
	}
}
