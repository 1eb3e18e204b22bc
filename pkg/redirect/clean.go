// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/routes"
)

// CleanOptions say how much [Clean] takes away.
type CleanOptions struct {
	// Drain keeps the connections that are redirected now. No jump leads to the REDIRECT
	// rule any more, but the rule stays: without it the kernel would stop translating
	// these connections. The guard stays too, and rejects new ones. Call Clean without
	// Drain once the connections have ended.
	Drain bool
}

// Cleaned is what [Clean] did.
type Cleaned struct {
	// Removed holds what was taken away, one line each.
	Removed []string
	// Live counts the redirected connections that were open. Without Drain they break.
	Live int
}

// Clean takes our chains, address and routes away, of both families and, if opt.Backend is
// auto, of both backends. If there are none, it changes nothing. After that the shoot's
// traffic leaves the pod as it did before Apply.
func Clean(ctx context.Context, opt Options, how CleanOptions) (*Cleaned, error) {
	cleaned := &Cleaned{}
	err := inNamespace(ctx, opt, func(n *namespace) error {
		all, err := n.find()
		if err != nil {
			return err
		}
		cleaned.Live = n.countLive(all)
		if how.Drain {
			return n.drain(all, cleaned)
		}
		if err := n.clean(all, cleaned); err != nil {
			return err
		}
		return n.checkGone()
	})
	return cleaned, err
}

// clean removes routes, addresses and rules.
func (n *namespace) clean(all []installation, cleaned *Cleaned) error {
	if cleaned.Live > 0 {
		n.log.Warn("live redirected connections break: call redirect.Clean with CleanOptions.Drain first to let them end", "connections", cleaned.Live)
	}
	// Routes first: without the rules they would let the shoot's traffic out.
	steps, err := routes.Removal()
	if err != nil {
		return err
	}
	if err := routes.Run(steps); err != nil {
		return err
	}
	cleaned.Removed = append(cleaned.Removed, routes.Texts(steps)...)
	for _, one := range all {
		if err := one.tables.Restore(removal(one.all)); err != nil {
			return err
		}
		cleaned.Removed = append(cleaned.Removed, one.chainNames()...)
	}
	return nil
}

// checkGone reads the rules again: that iptables-restore exited with 0 does not prove that
// the chains are gone.
func (n *namespace) checkGone() error {
	all, err := n.find()
	if err != nil {
		return err
	}
	var left []string
	for _, one := range all {
		left = append(left, append(one.chainNames(), one.jumps()...)...)
	}
	if len(left) == 0 {
		return nil
	}
	return &KernelError{
		Op:   "remove our rules",
		Cure: "another program puts them back or keeps them: look for it, and call redirect.Clean again",
		Err:  fmt.Errorf("iptables reported success, and these still stand: %s", strings.Join(left, ", ")),
	}
}

// drain takes away what leads to the REDIRECT rule.
func (n *namespace) drain(all []installation, cleaned *Cleaned) error {
	for _, one := range all {
		if _, ok := one.all[tableNAT][ChainOutput]; !ok {
			continue
		}
		if err := one.tables.Restore(draining()); err != nil {
			return err
		}
		cleaned.Removed = append(cleaned.Removed, fmt.Sprintf("%s (%s) table nat chain %s: what led to the redirect", one.family, one.backend, ChainOutput))
	}
	return nil
}

// countLive counts the open connections that our rules redirected. The number is only for
// a warning, so it is 0 if the kernel does not tell.
func (n *namespace) countLive(all []installation) int {
	var ports []uint16
	for _, one := range all {
		ports = append(ports, one.state.redirectPorts()...)
	}
	connections, _, err := connections(ports)
	if err != nil {
		n.log.Debug("live connections cannot be counted", "error", err)
	}
	return len(slices.DeleteFunc(connections, func(c Connection) bool { return !c.Live() }))
}
