// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/iptables"
)

// Config is what to redirect, and where to. Its zero value is refused.
type Config struct {
	// Shoot holds the CIDRs whose TCP connections are redirected. A family without a
	// CIDR is not touched.
	Shoot []netip.Prefix
	// Exclude holds CIDRs inside of Shoot that are not redirected.
	Exclude []netip.Prefix
	// ExcludePorts holds TCP destination ports that are not redirected.
	ExcludePorts []uint16
	// ExcludeUIDs holds users whose traffic is not redirected.
	ExcludeUIDs []uint32
	// ProxyPort is the port of the sidecar, which listens on 127.0.0.1 and ::1.
	ProxyPort uint16
	// ProxyUID is the user of the sidecar. Its traffic is never redirected, so no other
	// program may run as that user. 0 is refused: root's traffic would escape the
	// redirect.
	ProxyUID uint32
	// ProbePort is the port of the verification probe. 0 derives it from Shoot and
	// Exclude, as the sidecar does.
	ProbePort uint16
}

// Options say in which namespace and with which iptables to work. The zero value is the
// caller's own namespace, and a choice between the backends.
type Options struct {
	// Backend is the iptables to use; "" means [BackendAuto].
	Backend Backend
	// Netns is the file of a network namespace, such as /run/netns/pod or
	// /proc/42/ns/net; "" means the caller's. The calling goroutine enters it for the
	// length of a call, on a locked thread.
	Netns string
	// Logger gets warnings; nil discards them.
	Logger *slog.Logger
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// Backend is one of the two kernel interfaces behind the name iptables. The rules of one
// are invisible to the other, and both are in force.
type Backend string

// The backends.
const (
	// BackendAuto is the backend in which the chains are already. If there are none, it
	// is legacy if that holds nat rules and may be used, else nft, else legacy.
	BackendAuto Backend = "auto"
	// BackendNFT is iptables-nft.
	BackendNFT = Backend(iptables.NFT)
	// BackendLegacy is iptables-legacy. It needs capability NET_RAW as well.
	BackendLegacy = Backend(iptables.Legacy)
)

// Family is IPv4 or IPv6.
type Family = family.Family

// The families.
const (
	IPv4 = family.IPv4
	IPv6 = family.IPv6
)

// bothFamilies returns IPv4 and IPv6, in the order in which all is done.
func bothFamilies() []Family { return []Family{IPv4, IPv6} }

// bothBackends returns nft and legacy, in the order in which all is done.
func bothBackends() []Backend { return []Backend{BackendNFT, BackendLegacy} }

// ConfigError is a configuration that makes no sense for any pod, or not for this one.
// Nothing was changed.
type ConfigError struct {
	// Field is the field of [Config] or [Options] at fault.
	Field string
	// Value is what it held.
	Value string
	// Problem says what is wrong with it and what to do.
	Problem string
}

// Error returns one sentence.
func (e *ConfigError) Error() string {
	if e.Value == "" {
		return e.Field + " " + e.Problem
	}
	return fmt.Sprintf("%s %q %s", e.Field, e.Value, e.Problem)
}

// target is a configuration that passed every check for which the kernel is not asked.
type target struct {
	cfg Config
	set *cidr.Set
	// probe holds the probe address of each family that is redirected.
	probe map[Family]netip.AddrPort
	// inside holds the probe addresses inside of the shoot CIDRs.
	inside map[Family][]netip.AddrPort
}

// families returns those that are redirected, IPv4 first.
func (t *target) families() []Family {
	var all []Family
	for _, f := range bothFamilies() {
		if t.has(f) {
			all = append(all, f)
		}
	}
	return all
}

// has reports whether a family is redirected.
func (t *target) has(f Family) bool {
	_, ok := t.probe[f]
	return ok
}

// Validate returns a [*ConfigError] for everything that is wrong for any pod.
func (c Config) Validate() error {
	_, err := c.target()
	return err
}

// target returns c after all checks of [Config.Validate].
func (c Config) target() (*target, error) {
	if c.ProxyPort == 0 {
		return nil, &ConfigError{"ProxyPort", "0", "is not a port anything can listen on: give one from 1 to 65535"}
	}
	if c.ProxyUID == 0 {
		return nil, &ConfigError{"ProxyUID", "0", "is root, whose traffic would escape the redirect: run the proxy as a user of its own"}
	}
	if c.ProxyUID == math.MaxUint32 {
		return nil, &ConfigError{"ProxyUID", fmt.Sprint(c.ProxyUID), noUser}
	}
	if slices.Contains(c.ExcludeUIDs, math.MaxUint32) {
		return nil, &ConfigError{"ExcludeUIDs", fmt.Sprint(uint32(math.MaxUint32)), noUser}
	}
	if slices.Contains(c.ExcludePorts, 0) {
		return nil, &ConfigError{"ExcludePorts", "0", "is not a port anything can connect to: give one from 1 to 65535"}
	}
	set, err := c.cidrs()
	if err != nil {
		return nil, err
	}
	return c.probes(set), nil
}

// noUser is what is wrong with (uid_t)-1.
const noUser = "is the kernel's mark for no user at all: give another"

// cidrs returns the set of Shoot minus Exclude. Its error is a [*ConfigError].
func (c Config) cidrs() (*cidr.Set, error) {
	shoot, err := cidr.Entries("Shoot", c.Shoot)
	if err != nil {
		return nil, fromCIDR(err)
	}
	exclude, err := cidr.Entries("Exclude", c.Exclude)
	if err != nil {
		return nil, fromCIDR(err)
	}
	set, err := cidr.New(shoot, exclude)
	return set, fromCIDR(err)
}

// fromCIDR returns a refusal of package cidr as a [*ConfigError].
func fromCIDR(err error) error {
	if errors.Is(err, cidr.ErrNoShoot) {
		return &ConfigError{Field: "Shoot", Problem: "is empty: give at least one CIDR of the shoot"}
	}
	if refused, ok := errors.AsType[*cidr.Error](err); ok {
		return &ConfigError{Field: refused.List, Value: refused.Value, Problem: refused.Err.Error()}
	}
	return err
}

// probes returns the target with its probe addresses.
func (c Config) probes(set *cidr.Set) *target {
	t := &target{cfg: c, set: set, probe: map[Family]netip.AddrPort{}, inside: map[Family][]netip.AddrPort{}}
	withPort := func(at netip.AddrPort) netip.AddrPort {
		if c.ProbePort != 0 {
			return netip.AddrPortFrom(at.Addr(), c.ProbePort)
		}
		return at
	}
	for _, at := range probe.Targets(set) {
		t.probe[family.Of(at.Addr())] = withPort(at)
	}
	for _, at := range probe.Inside(set) {
		f := family.Of(at.Addr())
		t.inside[f] = append(t.inside[f], withPort(at))
	}
	return t
}
