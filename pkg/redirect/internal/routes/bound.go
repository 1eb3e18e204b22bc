// SPDX-License-Identifier: Apache-2.0

//go:build linux

package routes

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netlinkdump"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/podnetwork"
)

// The smallest MTUs, in bytes, with which a device takes part in a family (inetdev_init
// asks for 68, IPV6_MIN_MTU is 1280).
const (
	minMTU4 = 68
	minMTU6 = 1280
)

// firstBoundMetric plus the index of a device is the metric of its route. The metric has to
// be above 0, which is that of the kernel's own route, and IPv4 wants each to differ.
const firstBoundMetric = 1410

// missingBound returns the steps after which connections of sockets that are bound to a
// device are redirected too.
func missingBound(f family.Family) ([]Step, error) {
	links, err := podnetwork.Links()
	if err != nil {
		return nil, err
	}
	stale, err := boundRoutes(f)
	if err != nil {
		return nil, err
	}
	var missing []Step
	for _, link := range links {
		if !canSend(link, f) {
			continue
		}
		index := link.Attrs().Index
		if _, ok := stale[index]; ok {
			delete(stale, index)
			continue
		}
		missing = append(missing, boundStep(link, f))
	}
	return append(removalOfBound(stale), missing...), nil
}

// canSend reports whether a socket that is bound to link could send to the shoot.
func canSend(link netlink.Link, f family.Family) bool {
	attrs := link.Attrs()
	if podnetwork.IsLoopback(link) || attrs.Flags&net.FlagUp == 0 {
		return false
	}
	if f == family.IPv6 {
		return attrs.MTU >= minMTU6 && !podnetwork.IPv6DisabledOn(attrs.Name)
	}
	return attrs.MTU >= minMTU4
}

func boundStep(link netlink.Link, f family.Family) Step {
	to := family.Loopback(f)
	r := &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       ipNet(family.Host(to)),
		Type:      unix.RTN_LOCAL,
		Table:     unix.RT_TABLE_LOCAL,
		Priority:  firstBoundMetric + link.Attrs().Index,
		Protocol:  protocol,
	}
	if f == family.IPv4 {
		r.Scope = netlink.SCOPE_HOST
	}
	return Step{
		fmt.Sprintf("ip route add local %s dev %s table local metric %d proto %d", to, link.Attrs().Name, r.Priority, protocol),
		func() error { return netlink.RouteAdd(r) },
	}
}

// boundRoutes lists our routes to loopback by the index of their device.
func boundRoutes(f family.Family) (map[int]netlink.Route, error) {
	routes, err := netlinkdump.Complete(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family.Number(f),
			&netlink.Route{Protocol: protocol, Table: unix.RT_TABLE_LOCAL},
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

// removalOfBound returns the steps that delete routes of [boundRoutes].
func removalOfBound(routes map[int]netlink.Route) []Step {
	var steps []Step
	for _, r := range routes {
		steps = append(steps, Step{
			fmt.Sprintf("ip route delete local %s table local metric %d proto %d", r.Dst.IP, r.Priority, protocol),
			func() error { return deleteRoute(r) },
		})
	}
	return steps
}
