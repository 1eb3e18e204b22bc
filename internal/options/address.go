// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
)

// hostPort splits value and checks that the port is a number from 1 to 65535. It returns
// the host without brackets. It does not check the host, which may be empty.
func hostPort(value, example string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(value)
	switch {
	case err == nil:
	case !strings.Contains(value, ":"), strings.HasSuffix(value, "]"):
		return "", 0, errors.New("has no port: write it like " + example)
	case !strings.HasPrefix(value, "[") && strings.Count(value, ":") > 1:
		return "", 0, errors.New("has more than one colon: write host:port like " + example + ", with brackets around an IPv6 address")
	default:
		return "", 0, errors.New("is not host:port: write it like " + example)
	}
	if _, isIP := parseIPv6(host); strings.HasPrefix(value, "[") && !isIP {
		return "", 0, errors.New("has brackets around what is not an IPv6 address: write it like " + example)
	}
	port, err = parsePort(text)
	return host, port, err
}

func parseIPv6(host string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(host)
	return address, err == nil && address.Is6()
}

// parsePort reads a port in decimal digits.
func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil && strings.Trim(text, "0123456789") != "" || text == "" {
		return 0, errors.New("has a port that is not a number: write one from 1 to 65535")
	}
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("has port %s: ports go from 1 to 65535", text)
	}
	return uint16(n), nil
}

// onlyName says what to do about the name of a server that is not one.
const onlyName = "write a name in the server's certificate, without scheme and port"

// checkHost refuses what is neither an IP address of a host nor a DNS name. do says what to
// do about it.
func checkHost(host, do string) error {
	if address, err := netip.ParseAddr(host); err == nil {
		switch {
		case address.IsUnspecified():
			return errors.New("is the unspecified address: " + do)
		case address.IsMulticast():
			return errors.New("is a multicast address: " + do)
		}
		return nil
	}
	bad := errors.New("is not an IP address or a DNS name: " + do)
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
	// RFC 3696: a name whose last label has digits only is a mistyped address.
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return bad
	}
	return nil
}

// notInName reports whether a DNS name cannot have r. The underscore is allowed: names of
// hosts do not have it, but those of some services do.
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
		address, err := parseListen(value, defaultListen(set, defaults.ProxyPort))
		if err == nil && slices.Contains(listen, address) {
			err = errors.New("is given twice: write it once")
		}
		if err != nil {
			return nil, &flagset.UsageError{Flag: FlagListenAddress, Value: value, Problem: err.Error(), Err: err}
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

// exampleListen returns a value of --listen-address for both families.
func exampleListen() string {
	return fmt.Sprintf("127.0.0.1:%[1]d,[::1]:%[1]d", defaults.ProxyPort)
}

// defaultListen returns the loopback addresses of the families of the set.
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

// parseListen reads one listen address. Any address but loopback would open the tunnel,
// and with it the shoot, to the whole pod network. The error advises to write instead.
func parseListen(value string, instead []netip.AddrPort) (netip.AddrPort, error) {
	texts := make([]string, 0, len(instead))
	for _, address := range instead {
		texts = append(texts, address.String())
	}
	example := strings.Join(texts, ",")
	return parseLoopback(value, example, "which would open the shoot to the pod network", "write "+example)
}

// parseLoopback reads an address on loopback, which must be in its usual form. The errors
// say what another address would do, and the cure.
func parseLoopback(value, example, consequence, cure string) (netip.AddrPort, error) {
	host, port, err := hostPort(value, example)
	if err != nil {
		return netip.AddrPort{}, err
	}
	address, err := netip.ParseAddr(host)
	switch {
	case err != nil && host == "":
		return netip.AddrPort{}, errors.New("is not on loopback but on every address, " + consequence + ": " + cure)
	case err != nil:
		return netip.AddrPort{}, errors.New("has a name for a host, not an IP address: " + cure)
	case address.Is4In6() && address.Unmap().IsLoopback():
		return netip.AddrPort{}, fmt.Errorf("is an IPv4 address written as IPv6: write %s", netip.AddrPortFrom(address.Unmap(), port))
	case !address.IsLoopback() || address.Zone() != "":
		return netip.AddrPort{}, errors.New("is not on loopback, " + consequence + ": " + cure)
	}
	return netip.AddrPortFrom(address, port), nil
}

// checkFamilies refuses listen addresses that leave out a family of the set. Without one,
// the kernel would refuse each redirected connection of that family.
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

// checkHealthAddress validates --health-address. It may be on any interface.
func (o *ProxyClient) checkHealthAddress(listen []netip.AddrPort) error {
	value := strings.TrimSpace(o.HealthAddress)
	if err := checkHealth(value, listen); err != nil {
		return &flagset.UsageError{Flag: FlagHealthAddress, Value: value, Problem: err.Error(), Err: err}
	}
	return nil
}

// checkHealth refuses a health address that cannot be listened on beside listen.
func checkHealth(value string, listen []netip.AddrPort) error {
	host, port, err := hostPort(value, fmt.Sprintf("0.0.0.0:%d", defaults.HealthPort))
	if err != nil {
		return err
	}
	address, err := netip.ParseAddr(host)
	if host != "" && err != nil {
		if err := checkHost(host, "write an address of this pod, or none for all of them"); err != nil {
			return fmt.Errorf("has a host that %w", err)
		}
	}
	everywhere := host == "" || err == nil && address.IsUnspecified()
	for _, l := range listen {
		if port == l.Port() && (everywhere || err == nil && address.Unmap() == l.Addr()) {
			return fmt.Errorf("has the port of the listen address %s: write another", l)
		}
	}
	return nil
}
