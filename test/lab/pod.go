// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// maxPods is how many pods a lab can have besides [Lab.Pod]: each has a network of its own.
const maxPods = 200

// addedPod returns the network of an added pod, counted from 1: its address and the
// seed's, with their lengths.
func addedPod(f Families, number int) (pod, seed netip.Prefix) {
	text := func(host int) string {
		if f == IPv6 {
			return fmt.Sprintf("fd00:96:%x::%x/64", number, host)
		}
		return fmt.Sprintf("10.96.%d.%d/24", number, host)
	}
	return netip.MustParsePrefix(text(10)), netip.MustParsePrefix(text(1))
}

// AddPod makes another pod of the seed. Like the client's pod it has a default route
// through the seed, and no route to the shoot. Upstream's server is reached by the same
// addresses.
func (l *Lab) AddPod() (*Namespace, error) {
	l.pods++
	if l.pods > maxPods {
		return nil, fmt.Errorf("a lab has at most %d added pods", maxPods)
	}
	number := l.pods
	pod, err := l.host(fmt.Sprint("pod", number))
	if err != nil {
		return nil, err
	}
	device := fmt.Sprint("to-pod", number)
	var own, seeds []string
	for _, f := range l.opts.PodFamilies.Each() {
		at, seed := addedPod(f, number)
		own, seeds = append(own, at.String()), append(seeds, seed.String())
	}
	err = l.Seed.Do(func() error {
		if err := addCable(device, pod, "eth0"); err != nil {
			return err
		}
		return addresses(map[string][]string{device: seeds})
	})
	if err != nil {
		return nil, fmt.Errorf("connect the seed with %s: %w", pod.Name, err)
	}
	return pod, pod.Do(func() error {
		if err := addresses(map[string][]string{"lo": nil, "eth0": own}); err != nil {
			return err
		}
		for _, f := range l.opts.PodFamilies.Each() {
			_, seed := addedPod(f, number)
			if err := netlink.RouteAdd(&netlink.Route{Gw: net.IP(seed.Addr().AsSlice())}); err != nil {
				return fmt.Errorf("add the default route via %s: %w", seed.Addr(), err)
			}
		}
		return nil
	})
}
