// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// ztunnel returns the proxy of Istio's ambient mode. It is no container of the pod, but
// its sockets are in the pod's network namespace, and have a mark.
func ztunnel() mesh {
	return mesh{name: "Istio's ambient mode", proxy: owner{mark: 1337}, outboundPort: 15001, inboundPort: 15006}
}

// runAmbient writes the rules of Istio's ambient mode into the pod. The node agent would
// take minutes to build, so its rules are in files, which say where they are from.
func (r *rig) runAmbient(t *testing.T, native bool) {
	t.Helper()
	steps := map[string][]string{
		"testdata/istio-ambient.iptables":  {"iptables-nft-restore", "--noflush"},
		"testdata/istio-ambient.ip6tables": {"ip6tables-nft-restore", "--noflush"},
	}
	if native {
		steps = map[string][]string{"testdata/istio-ambient.nft": {"nft", "-f", "-"}}
	}
	for file, command := range steps {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Pod.Run(labtest.Context(t, hang), lab.Command{Path: command[0], Args: command[1:], Stdin: strings.NewReader(string(text))}); err != nil {
			t.Fatal(err)
		}
	}
	// The node agent writes these by netlink (cni/pkg/iptables/iptables_linux.go).
	for _, f := range []string{"-4", "-6"} {
		for _, args := range []string{"rule add fwmark 0x111/0xfff pref 32764 lookup 100", "route replace local default dev lo table 100"} {
			c := lab.Command{Path: "ip", Args: append([]string{f}, strings.Fields(args)...)}
			if _, err := r.Pod.Run(labtest.Context(t, hang), c); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestIstiosAmbientMode: connections to the shoot are ours, and ztunnel gets the rest.
// That includes the sidecar's own connection, which nothing excludes, and the health
// port. Native nftables rules that are written after ours take the shoot's connections.
func TestIstiosAmbientMode(t *testing.T) {
	for _, native := range []bool{false, true} {
		for _, order := range []string{ourInitFirst, meshPlugin} {
			taken := native && order == ourInitFirst
			t.Run(fmt.Sprint("native nftables ", native, " ", order), func(t *testing.T) {
				t.Parallel()
				m := ztunnel()
				r := newMeshRig(t)
				if order == ourInitFirst {
					r.apply(t)
					r.runAmbient(t, native)
				} else {
					r.runAmbient(t, native)
					r.apply(t)
				}
				proxy := r.startMeshProxy(t, m)
				for _, f := range lab.DualStack.Each() {
					r.wantAnswer(t, app, greeter(f), arrival{outbound, greeter(f)}.String())
					r.wantAnswer(t, m.proxy, greeter(f), greeting)
					for _, port := range []uint16{8080, lab.HealthPort} {
						to := netip.AddrPortFrom(lab.PodAddress(f), port)
						r.wantInbound(t, to, arrival{inbound, to}.String())
					}
				}
				proxy.forwards.Store(true)
				r.start(t)
				if own := (arrival{outbound, frontend()}); !slices.Contains(proxy.arrivals(), own) {
					t.Errorf("the mesh's proxy got %v, want %s too", proxy.arrivals(), own)
				}
				for _, f := range lab.DualStack.Each() {
					shoot := netip.AddrPortFrom(lab.ShootPod(f, 1), target.HTTPPort)
					r.wantHello(t, app, shoot)
					if got := slices.Contains(proxy.arrivals(), arrival{outbound, shoot}); got != taken {
						t.Errorf("a connection to %s arrives at the mesh's proxy: %t, want %t", shoot, got, taken)
					}
				}
				if _, err := r.InitRedirect(labtest.Context(t, hang), "verify"); err != nil {
					t.Error(err)
				}
				if !taken {
					r.wantExplained(t, "Everything is right: TCP to ")
					return
				}
				r.wantExplained(t, "WRONG: TCP to ", "nft table inet istio-ambient-nat chain istio-output", "whose rule: likely Istio (ambient mode)", "istio.io/dataplane-mode")
				proxy.forwards.Store(false)
				result, err := r.InitRedirect(labtest.Context(t, hang), "verify")
				if result.Code != 4 || !strings.Contains(result.Stderr, "nft table inet istio-ambient-nat chain") {
					t.Errorf("verify ends with exit code %d: %v", result.Code, err)
				}
			})
		}
	}
}
