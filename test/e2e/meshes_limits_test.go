// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestMeshesTakeWhatIsNotExcluded: without the annotations of docs/meshes.md, the mesh
// takes connections to the sidecar's health port, and the sidecar's new connections to the
// proxy-server. An older one stays, so the pod works until that connection breaks. With a
// mesh's proxy that passes it on, the tunnel works through that proxy.
func TestMeshesTakeWhatIsNotExcluded(t *testing.T) {
	for _, m := range []mesh{istio(), linkerd()} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			r := newMeshRig(t)
			r.apply(t)
			// As in a pod with native sidecars: ours starts before the mesh's init container.
			r.start(t)
			r.runInit(t, m, "", annotations{})
			proxy := r.startMeshProxy(t, m)

			health := netip.AddrPortFrom(lab.PodAddress(lab.IPv4), lab.HealthPort)
			r.wantInbound(t, health, arrival{inbound, health}.String())

			shoot := netip.AddrPortFrom(lab.ShootPod(lab.IPv4, 1), target.HTTPPort)
			r.wantHello(t, app, shoot)
			taken := arrival{outbound, frontend()}
			if slices.Contains(proxy.arrivals(), taken) {
				t.Fatal("the mesh has the sidecar's connection already, so the rest proves nothing")
			}
			if err := r.Servers[0].Restart(labtest.Context(t, hang)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the mesh to get the sidecar's next connection", func(context.Context) error {
				if !slices.Contains(proxy.arrivals(), taken) {
					return fmt.Errorf("it has %v", proxy.arrivals())
				}
				return nil
			})
			eventually(t, "/readyz to fail", func(ctx context.Context) error {
				said, err := r.notReady(ctx)
				if err == nil && !strings.Contains(said, frontend().String()) {
					err = fmt.Errorf("/readyz says %q, which does not name %s", said, frontend())
				}
				t.Logf("/readyz: %s", said)
				return err
			})

			proxy.forwards.Store(true)
			eventually(t, "the tunnel through the mesh's proxy", func(ctx context.Context) error { return r.hello(ctx, app, shoot) })
		})
	}
}

// TestASidecarWaitsForAMeshsProxyUnlessExcluded: a CNI plugin's rules are there before
// the mesh's proxy. Until that proxy listens, the sidecar reaches no proxy-server, and says
// so, unless the proxy-server is excluded from the mesh.
func TestASidecarWaitsForAMeshsProxyUnlessExcluded(t *testing.T) {
	for _, m := range []mesh{istio(), linkerd()} {
		for _, excluded := range []bool{false, true} {
			t.Run(fmt.Sprint(m.name, " excluded ", excluded), func(t *testing.T) {
				t.Parallel()
				r := newMeshRig(t)
				var a annotations
				if excluded {
					a = recommended()
				}
				r.runPlugin(t, m, nft, a)
				r.apply(t)
				shoot := netip.AddrPortFrom(lab.ShootPod(lab.IPv4, 1), target.HTTPPort)
				if excluded {
					r.start(t)
					r.wantHello(t, app, shoot)
					return
				}
				var err error
				if r.sidecar, err = r.Pod.Start("proxy-client", r.ProxyClientCommand()); err != nil {
					t.Fatal(err)
				}
				eventually(t, "/readyz to say that the connection is refused", func(ctx context.Context) error {
					said, err := r.notReady(ctx)
					if err == nil && (!strings.Contains(said, "refused") || !strings.Contains(said, frontend().String())) {
						err = fmt.Errorf("/readyz says %q", said)
					}
					t.Logf("/readyz: %s", said)
					return err
				})
				// It is alive, so the kubelet goes on to the next container.
				if err := r.wantStatus(labtest.Context(t, hang), "/livez", http.StatusOK); err != nil {
					t.Error(err)
				}
				r.startMeshProxy(t, m).forwards.Store(true)
				eventually(t, "the tunnel through the mesh's proxy", func(ctx context.Context) error { return r.hello(ctx, app, shoot) })
			})
		}
	}
}

// frontend returns the address of the lab's proxy-server, as the sidecar dials it.
func frontend() netip.AddrPort {
	return netip.AddrPortFrom(lab.SeedAddress(lab.IPv4), lab.FrontendPort)
}

// TestIstioExcludesTheSidecarsGroup: Istio's init container can leave out a group. Then
// the sidecar's connections and its lookups of names go around the mesh, and an app's
// connections to the same port do not.
func TestIstioExcludesTheSidecarsGroup(t *testing.T) {
	for _, excluded := range []bool{false, true} {
		t.Run(fmt.Sprint("excluded ", excluded), func(t *testing.T) {
			t.Parallel()
			r := newMeshRig(t)
			a := annotations{captureDNS: true}
			agent, nameserver := "Istio's agent", "a nameserver"
			sidecarsServer, sidecarsNameserver := arrival{outbound, frontend()}.String(), agent
			if excluded {
				a.outboundGroups = fmt.Sprint(lab.ProxyUID)
				sidecarsNameserver = nameserver
			}
			m := istio("--capture-all-dns")
			r.apply(t)
			r.runInit(t, m, "", a)
			r.startMeshProxy(t, m)
			r.wantAnswer(t, app, frontend(), arrival{outbound, frontend()}.String())

			dns := netip.AddrPortFrom(lab.SeedAddress(lab.IPv4), 53)
			r.serveUDP(t, r.Pod, m.proxy, "127.0.0.1:15053", named(agent))
			r.serveUDP(t, r.Seed, owner{}, dns.String(), named(nameserver))
			for user, want := range map[owner]string{app: agent, sidecar: sidecarsNameserver} {
				if got, err := r.ask(labtest.Context(t, hang), user, dns); err != nil || got != want {
					t.Errorf("a lookup of user %d arrives at %q (%v), want %q", user.uid, got, err, want)
				}
			}
			if !excluded {
				r.wantAnswer(t, sidecar, frontend(), sidecarsServer)
				return
			}
			r.start(t)
			r.wantHello(t, app, netip.AddrPortFrom(lab.ShootPod(lab.IPv4, 1), target.HTTPPort))
			// Istio captures TCP to port 53 too. To the shoot it is ours.
			before := r.metrics(t)
			r.wantReset(t, lab.ShootPod(lab.IPv4, 1), 53, hang)
			r.wantCounted(t, "proxy_client_dial_failures_total", before, "refused")
		})
	}
}

// named returns the answers of a server that says its name.
func named(name string) func([]byte) []byte { return func([]byte) []byte { return []byte(name) } }

// ask sends a datagram in the pod as a user, and returns the answer.
func (r *rig) ask(ctx context.Context, user owner, to netip.AddrPort) (string, error) {
	conn, err := r.connectAs(ctx, "udp4", user, to)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("who are you?")); err != nil {
		return "", err
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	return string(answer[:n]), err
}

// TestIstiosNativeNftablesAfterOurs: Istio's native nftables rules come before ours if
// they are written later, and take the shoot's connections. verify and redirect_ok notice
// that. With the shoot's CIDRs and the addresses of the check excluded, all is well. A
// mesh's proxy that passes the connections on makes them arrive at our sidecar too.
func TestIstiosNativeNftablesAfterOurs(t *testing.T) {
	var cidrs, checks []string
	for _, f := range lab.DualStack.Each() {
		cidrs = append(cidrs, lab.PodCIDR(f), lab.ServiceCIDR(f), lab.NodeCIDR(f))
	}
	checks = append(checks, "192.0.2.1/32", "2001:db8::1/128")
	for _, c := range []struct {
		name     string
		excluded []string
		forwards bool
		ours, ok bool // the shoot's connections, and all probes
	}{
		{name: "nothing excluded"},
		{name: "nothing excluded, and a proxy that passes on", forwards: true, ok: true},
		{name: "the shoot excluded", excluded: cidrs, ours: true},
		{name: "shoot and checks excluded", excluded: slices.Concat(cidrs, checks), ours: true, ok: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := istioNative()
			r := newMeshRig(t)
			a := recommended()
			a.outboundRanges = strings.Join(c.excluded, ",")
			r.apply(t)
			r.runInit(t, m, "", a)
			proxy := r.startMeshProxy(t, m)
			proxy.forwards.Store(c.forwards)
			r.start(t)
			for _, f := range lab.DualStack.Each() {
				shoot := netip.AddrPortFrom(lab.ShootPod(f, 1), target.HTTPPort)
				if c.ours || c.forwards {
					r.wantHello(t, app, shoot)
				} else {
					r.wantAnswer(t, app, shoot, arrival{outbound, shoot}.String())
				}
				if got := slices.Contains(proxy.arrivals(), arrival{outbound, shoot}); got == c.ours {
					t.Errorf("a connection to %s arrives at the mesh's proxy: %t", shoot, got)
				}
				if c.ours {
					r.wantShares(t, m, f)
				}
			}
			switch {
			case !c.ours: // the proxy that passes on hides it from the check, but not from this
				r.wantExplained(t, "WRONG: TCP to ", "nft table inet istio-proxy-nat chain istio-redirect", "redirect to :15001", "whose rule: likely Istio", "excludeOutboundIPRanges")
			case !c.ok:
				r.wantExplained(t, "WRONG: TCP to the check of the redirect (192.0.2.1:", "whose rule: likely Istio")
			default:
				r.wantExplained(t, "Everything is right: TCP to ")
			}
			result, err := r.InitRedirect(labtest.Context(t, hang), "verify")
			if c.ok {
				if err != nil {
					t.Errorf("verify: %v", err)
				}
				r.wantRedirectOK(t, 1)
				return
			}
			t.Logf("verify: %s", result.Stderr)
			if result.Code != 4 || !strings.Contains(result.Stderr, "nft table inet istio-proxy-nat chain") {
				t.Errorf("verify ends with exit code %d and says %q", result.Code, result.Stderr)
			}
			r.wantLogged(t, map[string]int{"the redirect does not work, so apps cannot reach the shoot": 2})
			t.Logf("the sidecar: %s", r.log(t))
		})
	}
}

// TestAMeshInTheOtherBackend: a mesh may write its rules with the iptables backend that
// ours are not in. The kernel then looks at the newer rules first. If the shoot's
// connections are the mesh's, verify says so.
func TestAMeshInTheOtherBackend(t *testing.T) {
	for _, c := range []struct {
		ours, theirs backend
		order        string
		taken        bool
	}{
		{nft, legacy, ourInitFirst, true},
		{nft, legacy, meshInitFirst, false},
		{legacy, nft, ourInitFirst, true},
		{legacy, nft, meshInitFirst, false},
	} {
		t.Run(fmt.Sprint("ours in ", c.ours, " ", c.order), func(t *testing.T) {
			t.Parallel()
			r := newMeshRig(t)
			m := linkerd()
			steps := []func(){
				func() { r.apply(t, "--iptables="+string(c.ours)) },
				func() { r.runInit(t, m, c.theirs, recommended()) },
			}
			if c.order == meshInitFirst {
				slices.Reverse(steps)
			}
			for _, step := range steps {
				step()
			}
			proxy := r.startMeshProxy(t, m)
			r.start(t)
			for _, f := range lab.DualStack.Each() {
				shoot := netip.AddrPortFrom(lab.ShootPod(f, 1), target.HTTPPort)
				if c.taken {
					r.wantAnswer(t, app, shoot, arrival{outbound, shoot}.String())
				} else {
					r.wantShares(t, m, f)
				}
			}
			result, err := r.InitRedirect(labtest.Context(t, hang), "verify")
			t.Logf("verify: %v %s", err, result.Stderr)
			// The kernel does not tell which of the two is newer.
			r.wantExplained(t, "MAYBE WRONG: TCP to ", "whose rule: likely Linkerd", "`init-redirect verify`, which tries it", "same iptables backend")
			if c.taken != (result.Code == 4) {
				t.Errorf("verify ends with exit code %d: %v; arrived at the mesh: %v", result.Code, err, proxy.arrivals())
			}
		})
	}
}

// TestTheMeshsProxyCanBeLeftOut: with --exclude-uid, connections of the mesh's proxy to
// the shoot's addresses leave the pod as they would without us. The app's are ours.
func TestTheMeshsProxyCanBeLeftOut(t *testing.T) {
	t.Parallel()
	r := newMeshRig(t)
	m := istio()
	r.apply(t, fmt.Sprint("--exclude-uid=", m.proxy.uid))
	r.runInit(t, m, "", recommended())
	r.startMeshProxy(t, m)
	r.start(t)
	shoot := netip.AddrPortFrom(lab.ShootPod(lab.IPv4, 1), target.HTTPPort)
	r.wantHello(t, app, shoot)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := r.dialAs(ctx, m.proxy, shoot)
	if !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("the mesh's proxy connects to %s: %v, %v; want no route to the shoot", shoot, conn, err)
	}
}
