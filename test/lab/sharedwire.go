// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// connect lays a cable between the balancer's host and a lab's seed. It returns the
// address at which the balancer finds the lab's server. All labs have the same addresses
// inside, so the seed translates those of pod and shoot on their way to the balancer.
func (b *SharedBalancer) connect(ctx context.Context, l *Lab, number int) (netip.Addr, error) {
	near := netip.AddrFrom4([4]byte{10, 94, byte(number), 1})
	far := near.Next()
	device := fmt.Sprint("lab", number)
	err := l.Seed.Do(func() error {
		if err := addCable("to-balancer", b.home.Seed, device); err != nil {
			return err
		}
		if err := addresses(map[string][]string{"to-balancer": {far.String() + "/24"}}); err != nil {
			return err
		}
		return addRoute(sharedAddress.String()+"/32", near.String()+"/24")
	})
	if err != nil {
		return far, err
	}
	err = b.home.Seed.Do(func() error { return addresses(map[string][]string{device: {near.String() + "/24"}}) })
	if err != nil {
		return far, err
	}
	// The pod's default route leads to its seed, and the shoot has none.
	err = l.Shoot.Do(func() error { return addRoute(sharedAddress.String()+"/32", seedShootIPv4) })
	if err != nil {
		return far, err
	}
	_, err = l.Seed.Run(ctx, Command{
		Path: "iptables", Args: []string{"-w", "-t", "nat", "-A", "POSTROUTING", "-o", "to-balancer", "-j", "MASQUERADE"},
	})
	return far, err
}
