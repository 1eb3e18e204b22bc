// SPDX-License-Identifier: Apache-2.0

package options

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// admin validates --admin-address. It returns an invalid address if there is to be none.
func (o *ProxyClient) admin(listen []netip.AddrPort) (netip.AddrPort, error) {
	value := strings.TrimSpace(o.AdminAddress)
	if value == "" {
		return netip.AddrPort{}, nil
	}
	address, err := parseAdmin(value)
	if err == nil {
		err = checkAdminCollision(address, listen, strings.TrimSpace(o.HealthAddress))
	}
	if err != nil {
		return netip.AddrPort{}, &flagset.UsageError{Flag: FlagAdminAddress, Value: value, Problem: err.Error(), Err: err}
	}
	return address, nil
}

// parseAdmin reads the admin address. It shows the addresses of connections and can end
// the sidecar, so it must not be open to the pod network.
func parseAdmin(value string) (netip.AddrPort, error) {
	example := NewProxyClient().AdminAddress
	return parseLoopback(value, example, "which would show connections to the pod network", "write "+example+", or an empty value for no status page")
}

// checkAdminCollision refuses an admin address that one of the other two addresses takes.
// Both were validated.
func checkAdminCollision(admin netip.AddrPort, listen []netip.AddrPort, health string) error {
	for _, l := range listen {
		if l == admin {
			return fmt.Errorf("is the %s too: write another port", FlagListenAddress)
		}
	}
	host, port, err := hostPort(health, health)
	if err != nil || port != admin.Port() {
		return nil
	}
	address, err := netip.ParseAddr(host)
	if host == "" || strings.EqualFold(host, "localhost") || err == nil && (address.IsUnspecified() || address.Unmap() == admin.Addr()) {
		return fmt.Errorf("has the port of %s %s: write another", FlagHealthAddress, net.JoinHostPort(host, fmt.Sprint(port)))
	}
	return nil
}
