// SPDX-License-Identifier: Apache-2.0

//go:build linux

package routes

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netlinkdump"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/podnetwork"
)

// protocol marks our routes (rtm_protocol). The kernel leaves values above 4 to user
// space, and iproute2's rt_protos does not name this one.
const protocol netlink.RouteProtocol = 141

// OwnAddresses returns the addresses that a pod can get. It gets the first that is not an
// address of the shoot. IPv4 link-local is never in a shoot CIDR; the others can be
// (fd70:726f:7879 spells "proxy").
func OwnAddresses(f family.Family) []netip.Addr {
	if f == family.IPv4 {
		return []netip.Addr{netip.AddrFrom4([4]byte{169, 254, 140, 1})}
	}
	return []netip.Addr{
		netip.MustParseAddr("fd70:726f:7879::1"),
		netip.MustParseAddr("fdc5:726f:7879::1"),
		netip.MustParseAddr("fd1a:726f:7879::1"),
	}
}

// IsOwnAddress reports whether an address is one of [OwnAddresses].
func IsOwnAddress(a netip.Addr) bool {
	return slices.Contains(slices.Concat(OwnAddresses(family.IPv4), OwnAddresses(family.IPv6)), a)
}

// ErrNoAddressLeft is the error of a pod that needs one of [OwnAddresses] if each of them
// is an address of the shoot.
var ErrNoAddressLeft = errors.New("each address that this pod could get is one of the shoot")

// Missing returns the steps after which connect(2) works towards each of destinations, also
// for a socket that is bound to a device. isShoot reports whether an address is one of the
// shoot.
func Missing(f family.Family, destinations []netip.Prefix, isShoot func(netip.Addr) bool) ([]Step, error) {
	bound, err := missingBound(f)
	if err != nil {
		return nil, err
	}
	without, err := missingFamily(f, destinations, isShoot)
	return append(without, bound...), err
}

// missingFamily returns the steps for a pod that does not have the family. For another pod
// there are none.
func missingFamily(f family.Family, destinations []netip.Prefix, isShoot func(netip.Addr) bool) ([]Step, error) {
	var unreachable []netip.Prefix
	for _, p := range destinations {
		ok, err := connectable(p)
		if err != nil {
			return nil, err
		}
		if !ok {
			unreachable = append(unreachable, p)
		}
	}
	if len(unreachable) == 0 {
		return nil, nil
	}
	i := slices.IndexFunc(OwnAddresses(f), func(a netip.Addr) bool { return !isShoot(a) })
	if i < 0 {
		return nil, ErrNoAddressLeft
	}
	link, err := deviceFor(f)
	if err != nil {
		return nil, err
	}
	return difference(link, OwnAddresses(f)[i], unreachable)
}

// connectable reports whether the kernel has a route and a usable source address for p
// that are not ours.
func connectable(p netip.Prefix) (bool, error) {
	sample := p.Addr()
	if !p.IsSingleIP() {
		sample = sample.Next() // the first address may be that of the subnet
	}
	routes, err := netlink.RouteGet(sample.AsSlice())
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up the route to %s: %w", sample, err)
	}
	if len(routes) == 0 {
		return false, nil
	}
	source, ok := netip.AddrFromSlice(routes[0].Src)
	switch {
	case !ok, source.IsUnspecified(), IsOwnAddress(source.Unmap()):
		return false, nil
	case source.Is6() && !source.Is4In6() && source.IsLinkLocalUnicast():
		return false, nil // connect(2) would begin, and then time out
	}
	return true, nil
}

// deviceFor returns a device for our routes: that of a default route, or else any device
// that is up. It never returns lo, whose traffic is exempt from the redirect.
func deviceFor(f family.Family) (netlink.Link, error) {
	var indexes []int
	for _, each := range []family.Family{family.IPv4, family.IPv6} {
		routes, err := podnetwork.Routes(each)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if podnetwork.IsDefault(r) && r.LinkIndex != 0 {
				indexes = append(indexes, r.LinkIndex)
			}
		}
	}
	links, err := podnetwork.Links()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(links, func(a, b netlink.Link) int {
		return defaultRank(indexes, a) - defaultRank(indexes, b)
	})
	var disabled []string
	for _, link := range links {
		if podnetwork.IsLoopback(link) || link.Attrs().Flags&net.FlagUp == 0 {
			continue
		}
		if f == family.IPv6 && podnetwork.IPv6DisabledOn(link.Attrs().Name) {
			disabled = append(disabled, link.Attrs().Name)
			continue
		}
		return link, nil
	}
	if len(disabled) > 0 {
		return nil, &kernelerror.Error{
			Op:   "give this pod an IPv6 address, which its shoot CIDRs need",
			Cure: "set sysctl net.ipv6.conf." + disabled[0] + ".disable_ipv6 to 0, or leave the IPv6 shoot CIDRs out",
			Err:  fmt.Errorf("%w: it is on device %s", kernelerror.ErrIPv6Disabled, strings.Join(disabled, ", ")),
		}
	}
	return nil, &kernelerror.Error{
		Op:   fmt.Sprintf("give this pod an %s address, which its shoot CIDRs need", f),
		Cure: "run after the pod's network is set up",
		Err:  errors.New("no device but lo is up"),
	}
}

// defaultRank orders devices: those of default routes come first, in the order of the
// routes.
func defaultRank(defaults []int, link netlink.Link) int {
	if i := slices.Index(defaults, link.Attrs().Index); i >= 0 {
		return i
	}
	return len(defaults)
}

// difference returns the steps from our address and routes as they are to those that are
// wanted.
func difference(link netlink.Link, address netip.Addr, wanted []netip.Prefix) ([]Step, error) {
	f, name := family.Of(address), link.Attrs().Name
	var steps []Step
	addresses, err := podnetwork.Addresses(link, family.Number(f))
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(addresses, func(a netlink.Addr) bool { return a.IP.Equal(address.AsSlice()) }) {
		// nodad: the kernel does not use an address as a source while it checks for
		// duplicates, and ours never leaves the pod.
		a := &netlink.Addr{IPNet: ipNet(family.Host(address)), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}
		steps = append(steps, Step{
			fmt.Sprintf("ip address add %s dev %s nodad noprefixroute", family.Host(address), name),
			func() error { return netlink.AddrAdd(link, a) },
		})
	}
	routes, err := ownRoutes(f)
	if err != nil {
		return nil, err
	}
	for _, p := range wanted {
		right := func(r netlink.Route) bool {
			return r.LinkIndex == link.Attrs().Index && r.Src.Equal(address.AsSlice()) && r.Dst.String() == ipNet(p).String()
		}
		if i := slices.IndexFunc(routes, right); i >= 0 {
			routes = slices.Delete(routes, i, i+1)
			continue
		}
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p), Src: address.AsSlice(), Protocol: protocol}
		if address.Is4() {
			r.Scope = netlink.SCOPE_LINK
		}
		steps = append(steps, Step{
			fmt.Sprintf("ip route add %s dev %s src %s proto %d", p, name, address, protocol),
			func() error { return netlink.RouteAdd(r) },
		})
	}
	return append(removal(routes), steps...), nil // the rest of routes is not wanted any more
}

// ownRoutes lists our routes in the main table.
func ownRoutes(f family.Family) ([]netlink.Route, error) {
	routes, err := netlinkdump.Complete(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family.Number(f), &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, fmt.Errorf("list our own routes: %w", err)
	}
	return routes, nil
}

// removal returns the steps that delete routes of [ownRoutes].
func removal(routes []netlink.Route) []Step {
	var steps []Step
	for _, r := range routes {
		steps = append(steps, Step{fmt.Sprintf("ip route delete %s proto %d", r.Dst, protocol), func() error { return deleteRoute(r) }})
	}
	return steps
}

// deleteRoute deletes a route if it is still there.
func deleteRoute(r netlink.Route) error {
	if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// ipNet returns a prefix as package netlink has it.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
