// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/probe"
)

func TestALostRedirectIsToldOnceAndItsRecoveryOnce(t *testing.T) {
	lost := errors.New("connection refused")
	type check struct {
		target netip.AddrPort
		result chan error
	}
	checks := make(chan check)
	h := start(t, &fakeDialer{}, target, func(p *Proxy) {
		p.cfg.CheckInterval = time.Millisecond
		p.cfg.Check = func(ctx context.Context, target netip.AddrPort) error {
			c := check{target, make(chan error, 1)}
			select {
			case checks <- c:
				return <-c.result
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	set := shoot(t)
	// round answers the two checks of one round, and returns when the next
	// round has begun, whose first check it answers as the next call says.
	next := <-checks
	round := func(ipv4, ipv6 error) {
		t.Helper()
		if want := probe.Target4(set); next.target != want {
			t.Fatalf("probed %s, want %s", next.target, want)
		}
		next.result <- ipv4
		next = <-checks
		if want := probe.Target6(set); next.target != want {
			t.Fatalf("probed %s, want %s", next.target, want)
		}
		next.result <- ipv6
		next = <-checks
	}
	round(nil, lost)
	h.wantValue(0, "proxy_client_redirect_ok")
	round(nil, lost)
	round(nil, nil)
	h.wantValue(1, "proxy_client_redirect_ok")
	round(nil, nil)
	round(lost, nil)
	h.wantValue(0, "proxy_client_redirect_ok")
	next.result <- lost

	var told []string
	for _, message := range []string{"the redirect does not work, so apps cannot reach the shoot", "the redirect works again"} {
		for _, line := range h.log.lines(t, message) {
			told = append(told, line["level"].(string)+" "+line["family"].(string))
		}
	}
	if diff := cmp.Diff([]string{"ERROR IPv6", "ERROR IPv4", "INFO IPv6"}, told); diff != "" {
		t.Errorf("losses and recoveries in the log (-want +got):\n%s", diff)
	}
	if err := h.Ready(); err != nil {
		t.Errorf("a lost redirect must not make the sidecar unready: %v", err)
	}
}
