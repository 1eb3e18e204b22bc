// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/iptables"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netnamespace"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/nftables"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/podnetwork"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/routes"
)

// namespace is the network namespace that the calling thread is in. Its functions are
// those that tests replace.
type namespace struct {
	backend       Backend
	log           *slog.Logger
	open          func(Family, Backend) (tables, error)
	ipv6Disabled  func() (how string, disabled bool)
	missingRoutes func(*target, Family) ([]routes.Step, error)
	nftRuleset    func(context.Context) ([]byte, error) // as JSON; nil if nft is not asked
	resolvConf    string                                // the pod's; "" if it cannot be known
}

// inNamespace runs fn in the namespace of opt, under its lock. What belongs to the namespace
// has to happen on fn's own goroutine, the start of programs too: each thread has a
// namespace, and a program gets that of the thread that starts it.
func inNamespace(ctx context.Context, opt Options, fn func(*namespace) error) (err error) {
	opener := iptables.NewOpener(ctx, iptables.Options{Logger: opt.logger(), Owns: isOurs, LockWaitSeconds: iptables.DefaultLockWait})
	n := &namespace{
		backend:       opt.Backend,
		log:           opt.logger(),
		open:          func(f Family, b Backend) (tables, error) { return openTables(opener, f, b) },
		ipv6Disabled:  podnetwork.IPv6Disabled,
		missingRoutes: missingRoutes,
		nftRuleset:    nftables.Ruleset,
		resolvConf:    netnamespace.ResolvConf(opt.Netns),
	}
	switch n.backend {
	case "":
		n.backend = BackendAuto
	case BackendAuto, BackendNFT, BackendLegacy:
	default:
		return &ConfigError{"Backend", string(n.backend), "is none of auto, nft and legacy"}
	}
	leave, err := netnamespace.Enter(opt.Netns)
	if refused, ok := errors.AsType[*netnamespace.PathError](err); ok {
		return &ConfigError{"Netns", refused.Path, refused.Problem}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()
	// Callers that only read take the lock too: they would see half of a change.
	release, err := netnamespace.Lock(ctx, n.log, netnamespace.LockTimeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return fn(n)
}

// openTables returns a nil interface beside an error.
func openTables(opener *iptables.Opener, f Family, b Backend) (tables, error) {
	t, err := opener.Open(f, iptables.Backend(b))
	if err != nil {
		return nil, err
	}
	return t, nil
}

// neededAddresses returns what this pod cannot do without: its own addresses, default
// gateways and nameservers.
func (n *namespace) neededAddresses() ([]podnetwork.NeededAddress, error) {
	all, err := podnetwork.NeededAddresses(routes.IsOwnAddress)
	if err != nil {
		return nil, err
	}
	servers, err := n.nameservers()
	return append(all, servers...), err
}

func (n *namespace) nameservers() ([]podnetwork.NeededAddress, error) {
	if n.resolvConf == "" {
		n.log.Debug("nameservers are not checked: the namespace's resolv.conf cannot be known from here")
		return nil, nil
	}
	return podnetwork.Nameservers(n.resolvConf)
}

// missingRoutes returns the steps after which connect(2) works towards all that the rules
// of a family redirect.
func missingRoutes(t *target, f Family) ([]routes.Step, error) {
	destinations := append([]netip.Prefix{family.Host(t.probe[f].Addr())}, family.Only(f, t.set.Shoot())...)
	steps, err := routes.Missing(f, cidr.Subtract(destinations, t.set.Excluded()), t.set.Contains)
	if errors.Is(err, routes.ErrNoAddressLeft) {
		return nil, &ConfigError{"Shoot", "", fmt.Sprintf("contains each of %v, one of which this pod needs as it has no %s address: exclude one", routes.OwnAddresses(f), f)}
	}
	return steps, err
}
