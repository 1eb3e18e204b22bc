// SPDX-License-Identifier: Apache-2.0

//go:build linux

package podnetwork

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
)

// Way is what the kernel answers for a route.
type Way struct {
	Device string
	Source netip.Addr
	// Local is set if the destination is this pod.
	Local bool
}

// WayTo asks the kernel where a packet goes, as `ip route get` does. In is set for a packet
// from outside, and Out for a socket that is bound to a device; both may be empty. The
// error is that of connect(2), such as ENETUNREACH, or ENODEV for a device that is missing.
func WayTo(destination, source netip.Addr, uid, mark uint32, in, out string) (Way, error) {
	options := &netlink.RouteGetOptions{Iif: in, Oif: out, Mark: mark}
	if source.IsValid() {
		options.SrcAddr = source.AsSlice()
	}
	if in == "" {
		options.UID = &uid
	}
	routes, err := netlink.RouteGetWithOptions(destination.AsSlice(), options)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return Way{}, unix.ENODEV
	}
	if err != nil {
		return Way{}, err
	}
	if len(routes) == 0 {
		return Way{}, unix.ENETUNREACH
	}
	r := routes[0]
	way := Way{Local: r.Type == unix.RTN_LOCAL}
	if from, ok := netip.AddrFromSlice(r.Src); ok {
		way.Source = from.Unmap()
		if destination.Is6() {
			way.Source = from
		}
	}
	if !way.Source.IsValid() {
		way.Source = source
	}
	link, err := netlink.LinkByIndex(r.LinkIndex)
	if err != nil {
		return Way{}, fmt.Errorf("look up network device %d: %w", r.LinkIndex, err)
	}
	way.Device = link.Attrs().Name
	return way, nil
}

// LocalAddresses returns the addresses of each device, in the kernel's order.
func LocalAddresses() (map[string][]netip.Addr, error) {
	links, err := Links()
	if err != nil {
		return nil, err
	}
	all := map[string][]netip.Addr{}
	for _, link := range links {
		name := link.Attrs().Name
		all[name] = nil
		for _, f := range []family.Family{family.IPv4, family.IPv6} {
			addresses, err := Addresses(link, family.Number(f))
			if err != nil {
				return nil, err
			}
			for _, a := range addresses {
				if address, ok := netip.AddrFromSlice(a.IP); ok {
					all[name] = append(all[name], address.Unmap())
				}
			}
		}
	}
	return all, nil
}
