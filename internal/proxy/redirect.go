// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/probe"
)

// watchRedirect probes the redirect of each family at once and then at each
// interval, until ctx ends. It only tells: a lost redirect is no reason to be
// unready, for the sidecar cannot repair it, and open connections may still
// work.
func (p *Proxy) watchRedirect(ctx context.Context) error {
	ticker := time.NewTicker(p.cfg.CheckInterval)
	defer ticker.Stop()
	lost := map[netip.AddrPort]bool{}
	for {
		ok := 1.0
		for _, target := range probe.Targets(p.cfg.CIDRs) {
			err := p.cfg.Check(ctx, target)
			if err != nil && !lost[target] {
				// Once is nothing: the machine may just have stood still.
				err = p.cfg.Check(ctx, target)
			}
			if ctx.Err() != nil {
				return nil // what failed says nothing any more
			}
			if isShortage(err) {
				was, checked := lost[target]
				if was || !checked {
					ok = 0
				}
				p.log.Warn("the redirect could not be checked for want of a file or memory; the last result stands", "error", err)
				continue
			}
			if err != nil {
				ok = 0
			}
			p.reportRedirect(target, lost, err)
		}
		p.metrics.redirectOK.Set(ok)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// isShortage reports whether err is about what this process, or the kernel, lacked
// for a check. That says nothing about the redirect.
func isShortage(err error) bool {
	for _, lack := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

// reportRedirect logs a loss once and a recovery once.
func (p *Proxy) reportRedirect(target netip.AddrPort, lost map[netip.AddrPort]bool, err error) {
	family := "IPv4"
	if target.Addr().Is6() {
		family = "IPv6"
	}
	switch {
	case err != nil && !lost[target]:
		p.log.Error("the redirect does not work, so apps cannot reach the shoot", "family", family, "error", asSeenHere(err))
	case err == nil && lost[target]:
		p.log.Info("the redirect works again", "family", family)
	}
	lost[target] = err != nil
}

// asSeenHere corrects the likely cause of a refusal. Whoever else probes may
// find that nobody listens; this proxy does, so a refused probe came to
// somewhere else, or to the guard that rejects what was not redirected.
func asSeenHere(err error) error {
	failed, ok := errors.AsType[*probe.Error](err)
	if !ok || !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return &probe.Error{
		Target: failed.Target,
		Err:    failed.Err,
		Cause: "the nat rules are missing or were flushed, or they lead to another port than this sidecar's --listen-address: " +
			"run `init-redirect verify`, then `init-redirect apply` to repair them",
	}
}
