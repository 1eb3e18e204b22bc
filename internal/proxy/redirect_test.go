// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

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
	// round answers the checks of one round, and returns when the next round has begun.
	// A target whose redirect is not known as lost is checked twice before it is
	// reported.
	next := <-checks
	answer := func(target netip.AddrPort, results ...error) {
		t.Helper()
		for _, result := range results {
			if next.target != target {
				t.Fatalf("probed %s, want %s", next.target, target)
			}
			next.result <- result
			next = <-checks
		}
	}
	round := func(ipv4, ipv6 []error) {
		t.Helper()
		answer(probe.Target4(set), ipv4...)
		answer(probe.Target6(set), ipv6...)
		if slices.ContainsFunc(slices.Concat(ipv4, ipv6), isShortage) {
			return // after a shortage no CIDR is probed
		}
		// Each CIDR, except those of a lost family.
		for _, target := range probe.Inside(set) {
			results := ipv4
			if target.Addr().Is6() {
				results = ipv6
			}
			if results[len(results)-1] == nil {
				answer(target, nil)
			}
		}
	}
	works, isLost, staysLost, hiccup := []error{nil}, []error{lost, lost}, []error{lost}, []error{lost, nil}
	round(works, isLost)
	h.wantValue(0, "proxy_client_redirect_ok")
	round(works, staysLost)
	round(works, works)
	h.wantValue(1, "proxy_client_redirect_ok")
	round(works, hiccup)
	h.wantValue(1, "proxy_client_redirect_ok")
	round(hiccup, works)
	short := []error{unix.EMFILE, unix.EMFILE} // says nothing about the redirect
	round(short, short)
	h.wantValue(1, "proxy_client_redirect_ok")
	round(isLost, works)
	h.wantValue(0, "proxy_client_redirect_ok")
	round(short[:1], works)
	h.wantValue(0, "proxy_client_redirect_ok")
	next.result <- lost

	var told []string
	for _, message := range []string{"the redirect does not work, so apps cannot reach the shoot", "the redirect works again"} {
		for _, line := range h.log.Lines(t, message) {
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
