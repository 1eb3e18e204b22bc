// SPDX-License-Identifier: Apache-2.0

//go:build linux

package routes

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/podnetwork"
)

// Step is one change by netlink.
type Step struct {
	// Text is the change in the words of ip(8).
	Text string
	do   func() error
}

// Texts returns the words of steps.
func Texts(steps []Step) []string {
	var all []string
	for _, s := range steps {
		all = append(all, s.Text)
	}
	return all
}

// Run makes the changes. Its error names the one that failed.
func Run(steps []Step) error {
	for _, s := range steps {
		err := s.do()
		if errors.Is(err, os.ErrPermission) {
			return kernelerror.Permission(s.Text, err)
		}
		if err != nil {
			return &kernelerror.Error{Op: s.Text, Cure: "look at `ip address` and `ip route` in the pod for what stands in the way", Err: err}
		}
	}
	return nil
}

// Removal returns the steps that take away our routes and addresses of both families.
func Removal() ([]Step, error) {
	var steps []Step
	for _, f := range []family.Family{family.IPv4, family.IPv6} {
		routes, err := ownRoutes(f)
		if err != nil {
			return nil, err
		}
		steps = append(steps, removal(routes)...)
		bound, err := boundRoutes(f)
		if err != nil {
			return nil, err
		}
		steps = append(steps, removalOfBound(bound)...)
	}
	links, err := podnetwork.Links()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		addresses, err := podnetwork.Addresses(link, netlink.FAMILY_ALL)
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if address, ok := netip.AddrFromSlice(a.IP); ok && IsOwnAddress(address.Unmap()) {
				steps = append(steps, Step{
					fmt.Sprintf("ip address delete %s dev %s", a.IPNet, link.Attrs().Name),
					func() error { return netlink.AddrDel(link, &a) },
				})
			}
		}
	}
	return steps, nil
}
