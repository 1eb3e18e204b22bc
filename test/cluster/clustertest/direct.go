// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/node"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

// Direct counts packets that pods of the seed send to addresses of the shoot without any
// tunnel: what the product promises that a labelled pod never does.
type Direct struct {
	seed  *node.Handle
	table string
}

// CountDirect begins to count, until the test's end.
func (r *Rig) CountDirect(t testing.TB) *Direct {
	t.Helper()
	d := &Direct{seed: r.Seed.Node, table: "direct-" + strings.ToLower(rand.Text()[:8])}
	// Packets of pods come by the node's bridge, and this hook is the first that sees
	// them: before a Service's address is replaced, and before anything is dropped.
	rules := fmt.Sprintf(`table ip %s {
	set senders { type ipv4_addr; size 1024; flags dynamic; counter; }
	chain seen {
		type filter hook prerouting priority raw; policy accept;
		ip daddr { %s, %s, %s } update @senders { ip saddr }
	}
}
`, d.table, shoot.Pods, shoot.Services, shoot.Address)
	if _, err := d.seed.RunWith(Context(t), strings.NewReader(rules), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Limit)
		defer cancel()
		if _, err := d.seed.Run(ctx, "nft", "delete", "table", "ip", d.table); err != nil {
			t.Error(err)
		}
	})
	return d
}

// From is how many packets a pod has sent. The address of a pod that has ended may be
// another pod's.
func (d *Direct) From(t testing.TB, pod *corev1.Pod) int {
	t.Helper()
	text, err := d.seed.Run(Context(t), "nft", "--json", "list", "set", "ip", d.table, "senders")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := senders(text)
	if err != nil {
		t.Fatal(err)
	}
	return packets[pod.Status.PodIP]
}

// senders reads what `nft --json list set` says about a set with counters.
func senders(text string) (map[string]int, error) {
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
