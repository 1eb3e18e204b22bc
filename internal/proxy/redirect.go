// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/probe"
)

const (
	// insidePerRound is how many CIDRs one round probes at most. The next round
	// continues after them. A probe that works takes less than a millisecond.
	insidePerRound = 32
	// failuresPerRound is how many failures end a round. Each may have waited for two
	// timeouts.
	failuresPerRound = 4
)

// redirectWatch is the state that successive rounds share.
type redirectWatch struct {
	lost map[netip.AddrPort]bool
	next int // index of the first CIDR to probe in this round
	// short is set in a round that lacked a file or memory for a probe.
	short bool
}

// watchRedirect probes the redirect of each family and of the shoot CIDRs, at once and
// then at each interval, until ctx ends. It only reports. A lost redirect does not make
// the sidecar unready: the sidecar cannot repair it, and open connections may still
// work.
func (p *Proxy) watchRedirect(ctx context.Context) error {
	ticker := time.NewTicker(p.cfg.CheckInterval)
	defer ticker.Stop()
	w := &redirectWatch{lost: map[netip.AddrPort]bool{}}
	for {
		p.probeRound(ctx, w)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// isShortage reports whether err means that this process or the kernel lacked a
// resource for a check. That says nothing about the redirect.
func isShortage(err error) bool {
	for _, lack := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

// probeRound probes each family, and the CIDRs of the families whose probe succeeded.
// In a family whose probe failed, the CIDRs' probes would fail too.
func (p *Proxy) probeRound(ctx context.Context, w *redirectWatch) {
	failures := 0
	w.short = false
	for _, target := range probe.Targets(p.cfg.CIDRs) {
		if !p.probeOne(ctx, w, target, false) {
			failures++
		}
	}
	inside := probe.Inside(p.cfg.CIDRs)
	for range min(len(inside), insidePerRound) {
		target := inside[w.next%len(inside)]
		w.next = (w.next + 1) % len(inside)
		if ctx.Err() != nil || w.short || failures >= failuresPerRound {
			break
		}
		if !p.familyLost(w, target) && !p.probeOne(ctx, w, target, true) {
			failures++
		}
	}
	// After a shortage the metric keeps its last value.
	if ctx.Err() == nil && !w.short && !slices.Contains(slices.Collect(maps.Values(w.lost)), true) {
		p.metrics.redirectVerified()
	}
}

// familyLost reports whether the last probe of target's family failed.
func (p *Proxy) familyLost(w *redirectWatch, target netip.AddrPort) bool {
	return slices.ContainsFunc(probe.Targets(p.cfg.CIDRs), func(t netip.AddrPort) bool {
		return t.Addr().Is4() == target.Addr().Is4() && w.lost[t]
	})
}

// probeOne probes one target and reports whether that succeeded. If the context has
// ended, or this process lacks a resource, it reports true, because the redirect may
// work.
func (p *Proxy) probeOne(ctx context.Context, w *redirectWatch, target netip.AddrPort, inside bool) bool {
	err := p.cfg.Check(ctx, target)
	if err != nil && !w.lost[target] {
		// A single failure does not count: the machine may have paused.
		err = p.cfg.Check(ctx, target)
	}
	if ctx.Err() != nil {
		return true
	}
	if isShortage(err) {
		w.short = true
		p.log.Warn("the redirect could not be checked for want of a file or memory; the last result stands", "error", err)
		return true
	}
	if err != nil {
		p.metrics.redirectOK.Set(0)
	}
	err = correctCause(err, inside, p.cfg.Names.ListenAddress)
	p.redirect.add(time.Now(), redirectOf(p.cfg.CIDRs, target, inside), err)
	p.reportRedirect(target, w.lost, err)
	return err == nil
}

// reportRedirect logs a loss once and a recovery once.
func (p *Proxy) reportRedirect(target netip.AddrPort, lost map[netip.AddrPort]bool, err error) {
	family := "IPv4"
	if target.Addr().Is6() {
		family = "IPv6"
	}
	switch {
	case err != nil && !lost[target]:
		p.log.Error("the redirect does not work, so apps cannot reach the shoot", "family", family, "probe", target.String(), "error", err)
	case err == nil && lost[target]:
		p.log.Info("the redirect works again", "family", family, "probe", target.String())
	}
	lost[target] = err != nil
}

// correctCause corrects the likely cause of a failed probe by what only this process
// knows. This proxy listens. So a refused probe went elsewhere, or to the guard that
// rejects what was not redirected. A CIDR is probed only if its family's probe has
// succeeded.
func correctCause(err error, inside bool, listenAddress string) error {
	failed, ok := errors.AsType[*probe.Error](err)
	switch {
	case !ok:
		return err
	case inside:
		return &probe.Error{
			Target: failed.Target, Err: failed.Err,
			Cause: "our rules stand, but rules of another program keep this CIDR's connections from them: NOTRACK in table raw, DROP in mangle, " +
				"a redirect in the other iptables backend or in a table of nftables; run `init-redirect verify`, which names them: " + probe.HowTo,
		}
	case !errors.Is(err, unix.ECONNREFUSED):
		return err
	}
	return &probe.Error{
		Target: failed.Target,
		Err:    failed.Err,
		Cause: "the nat rules are missing or were flushed, or they are for other CIDRs than this sidecar's, or lead to another port than its " + listenAddress + ", or another table in this pod " +
			"takes the connection first: run `init-redirect verify`, which names it, then `init-redirect apply` to repair our rules: " + probe.HowTo,
	}
}
