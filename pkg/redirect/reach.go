// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
)

// A pod without the shoot's family cannot connect(2): the kernel looks for a
// route and a source address before the packet exists that NAT could redirect.
// So such a pod gets an address of ours and routes over a device that is not
// lo. No packet ever takes them: redirected ones go to lo, the guard rejects
// the others.

// routeProtocol marks our routes (rtm_protocol; the kernel leaves values above
// 4 to user space, and iproute2's rt_protos does not name this one).
const routeProtocol netlink.RouteProtocol = 141

// ownAddresses are those that we give to a pod, the first that is not the
// shoot's. IPv4 link-local is never a shoot's; one prefix of the others can be
// (fd70:726f:7879 spells "proxy").
func ownAddresses(f Family) []netip.Addr {
	if f == IPv4 {
		return []netip.Addr{netip.AddrFrom4([4]byte{169, 254, 140, 1})}
	}
	return []netip.Addr{
		netip.MustParseAddr("fd70:726f:7879::1"),
		netip.MustParseAddr("fdc5:726f:7879::1"),
		netip.MustParseAddr("fd1a:726f:7879::1"),
	}
}

func isOwnAddress(a netip.Addr) bool {
	return slices.Contains(slices.Concat(ownAddresses(IPv4), ownAddresses(IPv6)), a)
}

// step is one change by netlink, in the words of ip(8).
type step struct {
	text string
	do   func() error
}

// reachSteps returns what has to change so that connect(2) works towards each
// shoot CIDR and the probe, also by a socket that is bound to a device.
func reachSteps(t *target, f Family) ([]step, error) {
	bound, err := boundSteps(f)
	if err != nil {
		return nil, err
	}
	lacking, err := lackingSteps(t, f)
	return append(lacking, bound...), err
}

// lackingSteps is for a pod that does not have the family, and empty for others.
func lackingSteps(t *target, f Family) ([]step, error) {
	var lacking []netip.Prefix
	for _, p := range cidr.Subtract(t.destinations(f), t.set.Excluded()) {
		ok, err := connectable(p)
		if err != nil {
			return nil, err
		}
		if !ok {
			lacking = append(lacking, p)
		}
	}
	if len(lacking) == 0 {
		return nil, nil
	}
	i := slices.IndexFunc(ownAddresses(f), func(a netip.Addr) bool { return !t.set.Contains(a) })
	if i < 0 {
		return nil, &ConfigError{"Shoot", "", fmt.Sprintf("contains each of %v, one of which this pod needs as it has no %s address: exclude one", ownAddresses(f), f)}
	}
	link, err := deviceFor(f)
	if err != nil {
		return nil, err
	}
	return missingSteps(link, ownAddresses(f)[i], lacking)
}

// destinations are the prefixes that the rules redirect.
func (t *target) destinations(f Family) []netip.Prefix {
	all := []netip.Prefix{host(t.probe[f].Addr())}
	for _, p := range t.set.Shoot() {
		if f.of(p) {
			all = append(all, p)
		}
	}
	return all
}

// connectable reports whether the kernel has a route and a usable source for p
// without our help.
func connectable(p netip.Prefix) (bool, error) {
	sample := p.Addr()
	if !p.IsSingleIP() {
		sample = sample.Next() // the first may be the subnet's own
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
	case !ok, source.IsUnspecified(), isOwnAddress(source.Unmap()):
		return false, nil
	case source.Is6() && !source.Is4In6() && source.IsLinkLocalUnicast():
		return false, nil // connects, and then times out
	}
	return true, nil
}

// deviceFor returns a device for our routes: that of a default route, else any
// that is up. lo is none, since its traffic is exempt from the redirect.
func deviceFor(f Family) (netlink.Link, error) {
	var indexes []int
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := allRoutes(family)
		if err != nil {
			return nil, fmt.Errorf("list this pod's routes: %w", err)
		}
		for _, r := range routes {
			if isDefault(r) && r.LinkIndex != 0 {
				indexes = append(indexes, r.LinkIndex)
			}
		}
	}
	links, err := complete(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list this pod's devices: %w", err)
	}
	slices.SortStableFunc(links, func(a, b netlink.Link) int {
		return defaultRank(indexes, a) - defaultRank(indexes, b)
	})
	var disabled []string
	for _, link := range links {
		if isLoopback(link) || link.Attrs().Flags&net.FlagUp == 0 {
			continue
		}
		if f == IPv6 && ipv6DisabledOn(link.Attrs().Name) {
			disabled = append(disabled, link.Attrs().Name)
			continue
		}
		return link, nil
	}
	if len(disabled) > 0 {
		return nil, &KernelError{
			Op:   "give this pod an IPv6 address, which its shoot CIDRs need",
			Cure: "set sysctl net.ipv6.conf." + disabled[0] + ".disable_ipv6 to 0, or leave the IPv6 shoot CIDRs out",
			Err:  fmt.Errorf("%w: it is on device %s", ErrIPv6Disabled, strings.Join(disabled, ", ")),
		}
	}
	return nil, &KernelError{
		Op:   fmt.Sprintf("give this pod an %s address, which its shoot CIDRs need", f),
		Cure: "run after the pod's network is set up",
		Err:  errors.New("no device but lo is up"),
	}
}

func defaultRank(defaults []int, link netlink.Link) int {
	if i := slices.Index(defaults, link.Attrs().Index); i >= 0 {
		return i
	}
	return len(defaults)
}

func ipv6DisabledOn(device string) bool {
	// The sysctl's folder is that of the opening thread's namespace.
	value, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv6/conf", device, "disable_ipv6"))
	return err == nil && strings.TrimSpace(string(value)) == "1"
}

// missingSteps compares what is wanted with our address and routes as they are.
func missingSteps(link netlink.Link, address netip.Addr, wanted []netip.Prefix) ([]step, error) {
	name := link.Attrs().Name
	var steps []step
	addresses, err := addressesOf(link, netlinkFamily(address))
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", name, err)
	}
	if !slices.ContainsFunc(addresses, func(a netlink.Addr) bool { return a.IP.Equal(address.AsSlice()) }) {
		// nodad: an address that is still being checked for duplicates is
		// no source, and ours never leaves the pod.
		a := &netlink.Addr{IPNet: ipNet(host(address)), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}
		steps = append(steps, step{
			fmt.Sprintf("ip address add %s dev %s nodad noprefixroute", host(address), name),
			func() error { return netlink.AddrAdd(link, a) },
		})
	}
	routes, err := ownRoutes(netlinkFamily(address))
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
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p), Src: address.AsSlice(), Protocol: routeProtocol}
		if address.Is4() {
			r.Scope = netlink.SCOPE_LINK
		}
		steps = append(steps, step{
			fmt.Sprintf("ip route add %s dev %s src %s proto %d", p, name, address, routeProtocol),
			func() error { return netlink.RouteAdd(r) },
		})
	}
	return append(removalSteps(routes), steps...), nil // what is left in routes is stale
}

// ownRoutes lists the routes that we made.
func ownRoutes(family int) ([]netlink.Route, error) {
	routes, err := complete(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, fmt.Errorf("list our own routes: %w", err)
	}
	return routes, nil
}

func removalSteps(routes []netlink.Route) []step {
	var steps []step
	for _, r := range routes {
		steps = append(steps, step{fmt.Sprintf("ip route delete %s proto %d", r.Dst, routeProtocol), func() error {
			if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
			return nil
		}})
	}
	return steps
}

// unreachSteps takes our routes and addresses of both families away.
func unreachSteps() ([]step, error) {
	var steps []step
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := ownRoutes(family)
		if err != nil {
			return nil, err
		}
		steps = append(steps, removalSteps(routes)...)
		bound, err := boundRoutes(family)
		if err != nil {
			return nil, err
		}
		steps = append(steps, boundRemoval(bound)...)
	}
	links, err := complete(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list this pod's devices: %w", err)
	}
	for _, link := range links {
		addresses, err := addressesOf(link, netlink.FAMILY_ALL)
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
		}
		for _, a := range addresses {
			if address, ok := netip.AddrFromSlice(a.IP); ok && isOwnAddress(address.Unmap()) {
				steps = append(steps, step{
					fmt.Sprintf("ip address delete %s dev %s", a.IPNet, link.Attrs().Name),
					func() error { return netlink.AddrDel(link, &a) },
				})
			}
		}
	}
	return steps, nil
}

// run makes the changes, and names the one that fails.
func run(steps []step) error {
	for _, s := range steps {
		err := s.do()
		if errors.Is(err, os.ErrPermission) {
			return &KernelError{Op: s.text, Cure: "the container needs capability NET_ADMIN", Err: fmt.Errorf("%w (%w)", ErrPermission, err)}
		}
		if err != nil {
			return &KernelError{Op: s.text, Cure: "look at `ip address` and `ip route` in the pod for what stands in the way", Err: err}
		}
	}
	return nil
}

func netlinkFamily(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
