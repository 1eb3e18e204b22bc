// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

func isRefused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// other returns the family of a pod that does not have f.
func other(f Family) netnstest.Family {
	if f == IPv4 {
		return netnstest.IPv6
	}
	return netnstest.IPv4
}

// opposite returns the other family.
func opposite(f Family) Family {
	if f == IPv4 {
		return IPv6
	}
	return IPv4
}

func TestPodWithoutTheFamilyReachesTheShoot(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := newPod(t, other(f))
		before := p.everything(t)
		c := p.capture(t)
		if conn, err := p.dial(t, "tcp", shootTarget(f)); err == nil {
			conn.Close()
			t.Fatal("the control experiment: a pod without the family reached the shoot without us")
		}
		cfg := configFor(shootCIDR(f))
		p.sidecar(t, f)
		p.apply(t, cfg, b)
		p.reaches(t, shootTarget(f))
		p.rejects(t, f)

		state := p.everything(t)
		if result := p.apply(t, cfg, b); result.Changed() {
			t.Errorf("apply again changed something:\n%s", result)
		}
		if diff := cmp.Diff(state, p.everything(t)); diff != "" {
			t.Errorf("apply again changed something (-before +after):\n%s", diff)
		}

		// With another CIDR, the routes of the old one are deleted.
		moved := configFor("172.30.0.0/16")
		if f == IPv6 {
			moved = configFor("fd00:30::/48")
		}
		p.apply(t, moved, b)
		if conn, err := p.dial(t, "tcp", shootTarget(f)); err == nil {
			conn.Close()
			t.Error("a route to a CIDR that is no longer the shoot's stays")
		}
		p.apply(t, cfg, b)
		p.reaches(t, shootTarget(f))

		// Verify notices a lost route, and apply repairs it.
		p.Run(t, "ip", version(f), "route", "delete", shootCIDR(f))
		var found *VerifyError
		if err := p.verify(t, cfg, b); !errors.As(err, &found) || !strings.Contains(err.Error(), shootCIDR(f)) {
			t.Errorf("verify with a lost route: %v", err)
		}
		p.apply(t, cfg, b)
		p.reaches(t, shootTarget(f))

		report, err := Dump(t.Context(), p.options(t, b))
		if err != nil || len(report.Reach) == 0 {
			t.Errorf("dump does not show what was given to the pod: %+v, %v", report, err)
		}
		if got := forShoot(p.destinations(t, c, opposite(f))); len(got) > 0 {
			t.Errorf("traffic for the shoot left the pod: to %v", got)
		}
		if _, err := Clean(t.Context(), p.options(t, b), CleanOptions{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, p.everything(t)); diff != "" {
			t.Errorf("clean does not restore the pod (-before +after):\n%s", diff)
		}
	})
}

func version(f Family) string {
	if f == IPv4 {
		return "-4"
	}
	return "-6"
}

func TestVerifyInAPodWithoutTheFamily(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := newPod(t, other(f))
		cfg := configFor(shootCIDR(f))
		p.apply(t, cfg, b)
		if err := p.verify(t, cfg, b); err != nil {
			t.Errorf("verify after apply: %v", err)
		}
	})
}

func TestIPv6DisabledInTheKernel(t *testing.T) {
	for _, where := range []string{"all", "eth0"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, netnstest.IPv4)
			p.Run(t, "sysctl", "-qw", "net.ipv6.conf."+where+".disable_ipv6=1")
			before := p.everything(t)
			for _, shoot := range [][]string{{shootCIDR(IPv6)}, {shootCIDR(IPv4), shootCIDR(IPv6)}} {
				_, err := Apply(t.Context(), configFor(shoot...), p.options(t, BackendAuto))
				var kernel *KernelError
				if !errors.As(err, &kernel) || !errors.Is(err, ErrIPv6Disabled) || kernel.Cure == "" {
					t.Errorf("an IPv6 shoot: %v, want ErrIPv6Disabled and a cure", err)
				}
				if diff := cmp.Diff(before, p.everything(t)); diff != "" {
					t.Errorf("a refused apply changed the pod (-before +after):\n%s", diff)
				}
			}
			cfg := configFor(shootCIDR(IPv4))
			p.apply(t, cfg, BackendAuto)
			if err := p.verify(t, cfg, BackendAuto); err != nil {
				t.Errorf("an IPv4 shoot must not care: %v", err)
			}
			if _, err := Clean(t.Context(), p.options(t, BackendAuto), CleanOptions{}); err != nil {
				t.Errorf("clean: %v", err)
			}
		})
	}
}
