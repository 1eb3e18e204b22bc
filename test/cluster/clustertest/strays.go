// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

// Strays counts the packets for the shoot that pods of the seed send into the seed's
// network. A redirected pod sends none.
type Strays struct {
	cluster *Cluster
	table   string
}

// WatchStrays counts packets until the test's end.
func (r *Rig) WatchStrays(t testing.TB) *Strays {
	t.Helper()
	s := &Strays{cluster: r.Seed, table: "strays_" + strings.ToLower(rand.Text()[:8])}
	// This is the first hook that a packet reaches in the node, before conntrack and
	// kube-proxy.
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
		ctx, cancel := context.WithTimeout(context.Background(), Limit)
		defer cancel()
		if _, err := r.Seed.Node.Run(ctx, "nft", "delete", "table", "ip", s.table); err != nil {
			t.Error(err)
		}
	})
	return s
}

// From returns the number of packets from a pod's address so far. After a pod has ended,
// another pod may get its address.
func (s *Strays) From(t testing.TB, podIP string) int {
	t.Helper()
	out, err := s.cluster.Node.Run(Context(t), "nft", "--json", "list", "set", "ip", s.table, "seen")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := countedPackets(out)
	if err != nil {
		t.Fatal(err)
	}
	return packets[podIP]
}

// WantNone fails the test if a packet has come from a pod's address so far.
func (s *Strays) WantNone(t testing.TB, pod *corev1.Pod) {
	t.Helper()
	if packets := s.From(t, pod.Status.PodIP); packets != 0 {
		t.Errorf("%d packets for the shoot have come out of pod %s, %s, into the seed's network", packets, pod.Name, pod.Status.PodIP)
	}
}

// countedPackets parses the output of `nft --json list set` for a set with counters. It
// returns packets by address.
func countedPackets(text string) (map[string]int, error) {
	var listing struct {
		Nftables []struct {
			Set *struct {
				Elem []struct {
					Elem struct {
						Val     string
						Counter struct{ Packets int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &listing); err != nil {
		return nil, fmt.Errorf("read nft's output: %w", err)
	}
	packets := map[string]int{}
	for _, object := range listing.Nftables {
		if object.Set == nil {
			continue
		}
		for _, e := range object.Set.Elem {
			packets[e.Elem.Val] = e.Elem.Counter.Packets
		}
	}
	return packets, nil
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
