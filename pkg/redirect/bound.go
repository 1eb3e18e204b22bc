// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An app can bind its socket to a device (SO_BINDTODEVICE; `curl --interface
// eth1`). REDIRECT sends its connection to loopback like any other, and then
// the kernel looks for a route to loopback over that device
// (ip_route_me_harder). Without one the packet leaves by the device, addressed
// to 127.0.0.1. So each device has a local route to the loopback address, and
// the connection arrives at the sidecar like every other. A device that comes
// later has none until the next apply: the guard in table mangle drops what
// would leave by it. What arrives from outside for a loopback address stays
// refused, with such a route too (ip_route_input_slow, ip6_rcv_core).

// The smallest MTUs with which a device takes part in a family (inetdev_init
// asks for 68, IPV6_MIN_MTU is 1280).
const (
	minMTU4 = 68
	minMTU6 = 1280
)

// firstBoundMetric and the index of a device are the metric of its route. It
// has to be above 0, the kernel's own route's, and IPv4 wants each different.
const firstBoundMetric = 1410

// boundSteps returns what has to change so that connections of sockets bound
// to a device are redirected as well.
func boundSteps(f Family) ([]step, error) {
	links, err := complete(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list this pod's devices: %w", err)
	}
	stale, err := boundRoutes(netlinkFamily(f.loopback()))
	if err != nil {
		return nil, err
	}
	var missing []step
	for _, link := range links {
		if !takesBound(link, f) {
			continue
		}
		index := link.Attrs().Index
		if _, ok := stale[index]; ok {
			delete(stale, index)
			continue
		}
		missing = append(missing, boundStep(link, f.loopback()))
	}
	return append(boundRemoval(stale), missing...), nil
}

// takesBound reports whether a socket bound to link could send to the shoot.
func takesBound(link netlink.Link, f Family) bool {
	attrs := link.Attrs()
	if isLoopback(link) || attrs.Flags&net.FlagUp == 0 {
		return false
	}
	if f == IPv6 {
		return attrs.MTU >= minMTU6 && !ipv6DisabledOn(attrs.Name)
	}
	return attrs.MTU >= minMTU4
}

func boundStep(link netlink.Link, to netip.Addr) step {
	r := &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       ipNet(host(to)),
		Type:      unix.RTN_LOCAL,
		Table:     unix.RT_TABLE_LOCAL,
		Priority:  firstBoundMetric + link.Attrs().Index,
		Protocol:  routeProtocol,
	}
	if to.Is4() {
		r.Scope = netlink.SCOPE_HOST
	}
	return step{
		fmt.Sprintf("ip route add local %s dev %s table local metric %d proto %d", to, link.Attrs().Name, r.Priority, routeProtocol),
		func() error { return netlink.RouteAdd(r) },
	}
}

// boundRoutes lists our routes to loopback, by the index of their device.
func boundRoutes(family int) (map[int]netlink.Route, error) {
	routes, err := complete(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family,
			&netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_LOCAL},
			netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list our own routes to loopback: %w", err)
	}
	byDevice := map[int]netlink.Route{}
	for _, r := range routes {
		byDevice[r.LinkIndex] = r
	}
	return byDevice, nil
}

// boundRemoval takes routes of [boundRoutes] away.
func boundRemoval(routes map[int]netlink.Route) []step {
	var steps []step
	for _, r := range routes {
		steps = append(steps, step{
			fmt.Sprintf("ip route delete local %s table local metric %d proto %d", r.Dst.IP, r.Priority, routeProtocol),
			func() error {
				if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
					return err
				}
				return nil
			},
		})
	}
	return steps
}
