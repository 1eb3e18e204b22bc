// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// The orders in which a mesh's rules and ours come into a pod.
const (
	ourInitFirst  = "our init container first"
	meshInitFirst = "the mesh's init container first"
	meshPlugin    = "the mesh's CNI plugin"
)

// TestMeshesKeepAllButTheShoot: in a pod with the rules of a mesh and ours, connections
// to the shoot go through the tunnel, and all others through the mesh's proxy. Inbound
// connections go to the mesh's proxy as before. The order of the rules makes no
// difference, except to Istio's native nftables: see TestIstiosNativeNftablesAfterOurs.
func TestMeshesKeepAllButTheShoot(t *testing.T) {
	all := []string{ourInitFirst, meshInitFirst, meshPlugin}
	for _, c := range []struct {
		mesh     mesh
		backends []backend
		orders   []string
	}{
		{istio(), []backend{nft, legacy}, all},
		{linkerd(), []backend{nft, legacy}, all},
		{istioTPROXY(), []backend{nft, legacy}, []string{ourInitFirst, meshInitFirst}},
		{istioNative(), []backend{nft}, []string{meshInitFirst, meshPlugin}},
	} {
		for _, b := range c.backends {
			for _, order := range c.orders {
				t.Run(fmt.Sprint(c.mesh.name, " ", b, " ", order), func(t *testing.T) {
					t.Parallel()
					r := newMeshRig(t)
					proxy := r.arrange(t, c.mesh, b, order)
					r.start(t)
					for _, f := range lab.DualStack.Each() {
						r.wantShares(t, c.mesh, f)
						r.wantSharesPredicted(t, c.mesh, f)
					}
					r.wantExplained(t, "Everything is right: TCP to ")
					r.wantRedirectOK(t, 1)
					if _, err := r.InitRedirect(labtest.Context(t, hang), "verify"); err != nil {
						t.Error(err)
					}
					for _, a := range proxy.arrivals() {
						if isShoots(a.destination.Addr()) || a.direction == outbound && a.destination.Port() == lab.FrontendPort {
							t.Errorf("the mesh's proxy got a connection of ours: %s", a)
						}
					}
				})
			}
		}
	}
}

// arrange writes both sets of rules in an order, and starts the mesh's proxy. Between the
// two it shows what is so without the other one.
func (r *rig) arrange(t *testing.T, m mesh, b backend, order string) *meshProxy {
	t.Helper()
	shoot := netip.AddrPortFrom(lab.ShootPod(lab.IPv4, 1), target.HTTPPort)
	switch order {
	case ourInitFirst:
		r.wantAnswer(t, app, greeter(lab.IPv4), greeting) // not yet the mesh's
		r.apply(t, "--iptables="+string(b))
		r.runInit(t, m, b, recommended())
		return r.startMeshProxy(t, m)
	case meshInitFirst:
		r.runInit(t, m, b, recommended())
		proxy := r.startMeshProxy(t, m)
		r.wantAnswer(t, app, shoot, arrival{outbound, shoot}.String()) // not yet ours
		proxy.forget()
		r.apply(t)
		return proxy
	default:
		r.runPlugin(t, m, b, recommended())
		r.apply(t)
		r.validate(t, m)
		return r.startMeshProxy(t, m)
	}
}

// forget forgets what has arrived.
func (p *meshProxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrived = nil
}

// validate runs Istio's own check of its rules, which is an init container beside the CNI
// plugin. Linkerd's is not a Go program. It connects to an address outside, as wantShares
// does.
func (r *rig) validate(t *testing.T, m mesh) {
	t.Helper()
	if m.outboundPort != istio().outboundPort {
		return
	}
	c := m.initContainer("", recommended())[0]
	c.Args, c.UID = append(c.Args, "--run-validation", "--skip-rule-apply"), uint32(m.proxy.uid)
	if _, err := r.Pod.Run(labtest.Context(t, hang), c); err != nil {
		t.Errorf("Istio's validation: %v", err)
	}
}

// wantShares expects that each connection of one family goes where it should.
func (r *rig) wantShares(t *testing.T, m mesh, f lab.Families) {
	t.Helper()
	for _, addr := range kinds(f) {
		page, err := r.app(labtest.Context(t, hang), nil, nil, "curl", "-sS", lab.URL(addr, target.HTTPPort, "/"))
		if err != nil || !strings.HasPrefix(page.Stdout, "hello from the shoot") {
			t.Errorf("curl to %s: %q, %v", addr, page.Stdout, err)
		}
		// Also connections of the mesh's own proxy.
		r.wantHello(t, m.proxy, netip.AddrPortFrom(addr, target.HTTPPort))
	}
	// An address that no host has, and one that the pod reaches without a mesh.
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(lab.Outside(f), 443), greeter(f)} {
		r.wantAnswer(t, app, to, arrival{outbound, to}.String())
	}
	r.wantAnswer(t, m.proxy, greeter(f), greeting)
	appPort := netip.AddrPortFrom(lab.PodAddress(f), 8080)
	r.wantInbound(t, appPort, arrival{inbound, appPort}.String())
	health := lab.URL(lab.PodAddress(f), lab.HealthPort, "/livez")
	if _, err := lab.Get(labtest.Context(t, hang), r.Seed.HTTP(), health); err != nil {
		t.Errorf("the seed asks for %s: %v", health, err)
	}
}

// wantRedirectOK waits until the metric has that value in each of its series.
func (r *rig) wantRedirectOK(t *testing.T, want float64) {
	t.Helper()
	eventually(t, "redirect_ok", func(ctx context.Context) error {
		metrics, err := r.SidecarMetrics(ctx)
		if err != nil {
			return err
		}
		found := 0
		for series, value := range metrics {
			if !strings.HasPrefix(series, "proxy_client_redirect_ok") {
				continue
			}
			if found++; value != want {
				return fmt.Errorf("%s is %v, want %v", series, value, want)
			}
		}
		if found == 0 {
			return errors.New("it is not there")
		}
		return nil
	})
}

func greeter(f lab.Families) netip.AddrPort {
	return netip.AddrPortFrom(lab.SeedAddress(f), greeterPort)
}

// isShoots reports whether an address is in one of the shoot's CIDRs.
func isShoots(addr netip.Addr) bool {
	for _, f := range lab.DualStack.Each() {
		for _, cidr := range []string{lab.PodCIDR(f), lab.ServiceCIDR(f), lab.NodeCIDR(f)} {
			if netip.MustParsePrefix(cidr).Contains(addr) {
				return true
			}
		}
	}
	return false
}

// TestLinkerdsNewerReleaseWritesTheSameRules: the module proxy has Linkerd's init program
// only up to v1.6.2, which these tests run. What v2.4.9 runs makes the same rules. Only
// the comments differ.
func TestLinkerdsNewerReleaseWritesTheSameRules(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("testdata/linkerd-proxy-init-v2.4.9.txt")
	if err != nil {
		t.Fatal(err)
	}
	r := newMeshRig(t)
	ctx := labtest.Context(t, hang)
	a := recommended()
	a.inboundPorts = "4567,4568," + a.inboundPorts
	r.runInit(t, linkerd(), nft, a)
	if _, err := r.Seed.Run(ctx, lab.Command{Path: "sh", Args: []string{"-e"}, Stdin: strings.NewReader(string(script))}); err != nil {
		t.Fatal(err)
	}
	for _, save := range []string{"iptables-nft-save", "ip6tables-nft-save"} {
		var rules [2][]string
		for i, host := range []*lab.Namespace{r.Pod, r.Seed} {
			saved, err := host.Run(ctx, lab.Command{Path: save, Args: []string{"-t", "nat"}})
			if err != nil {
				t.Fatal(err)
			}
			rules[i] = withoutComments(saved.Stdout)
		}
		if diff := cmp.Diff(rules[0], rules[1]); diff != "" || len(rules[0]) < 8 {
			t.Errorf("%s (-v1.6.2 +v2.4.9):\n%s\n%q", save, diff, rules[0])
		}
	}
}

// withoutComments returns the rules that iptables-save has printed.
func withoutComments(saved string) []string {
	var rules []string
	for line := range strings.Lines(saved) {
		if !strings.HasPrefix(line, "-A ") {
			continue
		}
		words := strings.Fields(line)
		if i := slices.Index(words, "--comment"); i > 1 { // after "-m comment"
			words = slices.Delete(words, i-2, i+2)
		}
		rules = append(rules, strings.Join(words, " "))
	}
	return rules
}
