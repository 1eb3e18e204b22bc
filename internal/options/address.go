// SPDX-License-Identifier: Apache-2.0

package options

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
)

// hostPort splits value and checks that the port is a number from 1 to 65535.
// The host comes without brackets and unchecked, and may be empty.
func hostPort(value, example string) (host string, port uint16, problem string) {
	host, text, err := net.SplitHostPort(value)
	switch {
	case err == nil:
	case !strings.Contains(value, ":"), strings.HasSuffix(value, "]"):
		return "", 0, "has no port: write it like " + example
	case !strings.HasPrefix(value, "[") && strings.Count(value, ":") > 1:
		return "", 0, "has more than one colon: write host:port like " + example + ", with brackets around an IPv6 address"
	default:
		return "", 0, "is not host:port: write it like " + example
	}
	if _, isIP := parseIPv6(host); strings.HasPrefix(value, "[") && !isIP {
		return "", 0, "has brackets around what is not an IPv6 address: write it like " + example
	}
	port, problem = parsePort(text)
	return host, port, problem
}

func parseIPv6(host string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(host)
	return address, err == nil && address.Is6()
}

// parsePort reads a port in decimal digits.
func parsePort(text string) (port uint16, problem string) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil && strings.Trim(text, "0123456789") != "" || text == "" {
		return 0, "has a port that is not a number: write one from 1 to 65535"
	}
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Sprintf("has port %s: ports go from 1 to 65535", text)
	}
	return uint16(n), ""
}

// checkHost says what is wrong with a host, an IP address or a DNS name.
func checkHost(host string) (problem string) {
	if address, err := netip.ParseAddr(host); err == nil {
		switch {
		case address.IsUnspecified():
			return "is the unspecified address: write the address of a server"
		case address.IsMulticast():
			return "is a multicast address: write the address of a server"
		}
		return ""
	}
	const bad = "is not an IP address or a DNS name"
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return bad
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") || strings.ContainsFunc(label, notInName) {
			return bad
		}
	}
	// RFC 3696: a last label of digits makes it a mistyped address.
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return bad
	}
	return ""
}

// notInName allows the underscore, which no host has but some services do.
func notInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}

// listen returns the validated listen addresses, or the defaults for the
// families of the set.
func (o *ProxyClient) listen(set *cidr.Set) ([]netip.AddrPort, error) {
	if len(o.ListenAddress) == 0 {
		return defaultListen(set, defaults.ProxyPort), nil
	}
	values, err := elements(FlagListenAddress, o.ListenAddress, exampleListen())
	if err != nil {
		return nil, err
	}
	var listen []netip.AddrPort
	for _, value := range values {
		address, problem := parseListen(value, defaultListen(set, defaults.ProxyPort))
		for _, other := range listen {
			if other == address {
				problem = "is given twice: write it once"
			}
		}
		if problem != "" {
			return nil, &flagset.UsageError{Flag: FlagListenAddress, Value: value, Problem: problem}
		}
		listen = append(listen, address)
	}
	return listen, checkFamilies(values, listen, set)
}

// listenOn makes proxy-client listen on a port, on the loopback address of each family
// that has a shoot CIDR. The default port needs no flag.
func (o *ProxyClient) listenOn(set *cidr.Set, port uint16) {
	o.ListenAddress = nil
	if port == defaults.ProxyPort {
		return
	}
	for _, address := range defaultListen(set, port) {
		o.ListenAddress = append(o.ListenAddress, address.String())
	}
}

// exampleListen is a value of --listen-address for both families.
func exampleListen() string {
	return fmt.Sprintf("127.0.0.1:%[1]d,[::1]:%[1]d", defaults.ProxyPort)
}

// defaultListen are the loopback addresses of the families of the set.
func defaultListen(set *cidr.Set, port uint16) []netip.AddrPort {
	var listen []netip.AddrPort
	if set.Has4() {
		listen = append(listen, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	}
	if set.Has6() {
		listen = append(listen, netip.AddrPortFrom(netip.IPv6Loopback(), port))
	}
	return listen
}

// parseListen reads one listen address; instead are those that would do. Anything but
// loopback would open the tunnel, and with it the shoot, to the whole pod network.
func parseListen(value string, instead []netip.AddrPort) (_ netip.AddrPort, problem string) {
	texts := make([]string, 0, len(instead))
	for _, address := range instead {
		texts = append(texts, address.String())
	}
	example := strings.Join(texts, ",")
	cure := "write " + example
	host, port, problem := hostPort(value, example)
	if problem != "" {
		return netip.AddrPort{}, problem
	}
	address, err := netip.ParseAddr(host)
	switch {
	case err != nil && host == "":
		return netip.AddrPort{}, "is not on loopback but on every address, which would open the shoot to the pod network: " + cure
	case err != nil:
		return netip.AddrPort{}, "has a name for a host, not an IP address: " + cure
	case address.Is4In6() && address.Unmap().IsLoopback():
		return netip.AddrPort{}, fmt.Sprintf("is an IPv4 address written as IPv6: write %s", netip.AddrPortFrom(address.Unmap(), port))
	case !address.IsLoopback() || address.Zone() != "":
		return netip.AddrPort{}, "is not on loopback, which would open the shoot to the pod network: " + cure
	}
	return netip.AddrPortFrom(address, port), ""
}

// checkFamilies refuses listen addresses that leave out a family of the set:
// each redirected connection of that family would be refused.
func checkFamilies(values []string, listen []netip.AddrPort, set *cidr.Set) error {
	var has4, has6 bool
	for _, address := range listen {
		has4 = has4 || address.Addr().Is4()
		has6 = has6 || address.Addr().Is6()
	}
	port := listen[0].Port()
	missing, family := "", ""
	switch {
	case set.Has4() && !has4:
		missing, family = fmt.Sprintf("127.0.0.1:%d", port), "IPv4"
	case set.Has6() && !has6:
		missing, family = fmt.Sprintf("[::1]:%d", port), "IPv6"
	default:
		return nil
	}
	return &flagset.UsageError{
		Flag: FlagListenAddress, Value: strings.Join(values, ","),
		Problem: fmt.Sprintf("has no %s address, but the shoot has %s CIDRs: add %s", family, family, missing),
	}
}

// checkHealthAddress validates --health-address, which anybody may reach.
func (o *ProxyClient) checkHealthAddress(listen []netip.AddrPort) error {
	value := strings.TrimSpace(o.HealthAddress)
	host, port, problem := hostPort(value, fmt.Sprintf("0.0.0.0:%d", defaults.HealthPort))
	address, err := netip.ParseAddr(host)
	if problem == "" && host != "" && err != nil {
		problem = checkHost(host)
		if problem != "" {
			problem = "its host " + problem
		}
	}
	for _, l := range listen {
		everywhere := host == "" || err == nil && address.IsUnspecified()
		if problem == "" && port == l.Port() && (everywhere || err == nil && address.Unmap() == l.Addr()) {
			problem = fmt.Sprintf("has the port of the listen address %s: write another", l)
		}
	}
	if problem != "" {
		return &flagset.UsageError{Flag: FlagHealthAddress, Value: value, Problem: problem}
	}
	return nil
}
