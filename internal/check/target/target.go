// SPDX-License-Identifier: Apache-2.0

// Package target reads the targets of a check, which a person writes as HOST:PORT. It looks
// up no name, and knows no CIDR.
//
//	t, err := target.Parse("10.250.0.4:10250")
package target

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Target is a destination that an app wants to reach.
type Target struct {
	Text string     // as it was given
	Host string     // a name, or an address
	Addr netip.Addr // invalid if Host is a name
	Port uint16
}

// Parse reads HOST:PORT. Its error goes on with a sentence that begins with the
// value.
func Parse(text string) (Target, error) {
	const example = "write it like 10.250.0.4:10250 or [fd00:10::4]:10250"
	if strings.Contains(text, "://") || strings.Contains(text, "/") {
		return Target{}, errors.New("is not HOST:PORT: " + example + ", without a scheme and a path")
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil && addr.Is6() {
			return Target{}, fmt.Errorf("has no port: write it like [%s]:10250", addr)
		}
		return Target{}, errors.New("has no port: " + example)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return Target{}, errors.New("has no port from 1 to 65535: " + example)
	}
	t := Target{Text: text, Host: host, Port: uint16(number)}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "":
		return Target{}, errors.New("has no host: " + example)
	case err == nil && addr.Zone() != "":
		return Target{}, errors.New("has a zone, which no address of a shoot has: " + example)
	case err == nil && (addr.IsUnspecified() || addr.IsMulticast()):
		return Target{}, errors.New("is no address of a host: " + example)
	case err == nil:
		t.Addr = addr.Unmap()
	case !isName(host):
		return Target{}, errors.New("has a host that is neither an address nor a name: " + example)
	}
	return t, nil
}

// isName reports whether host may be a DNS name, as far as its characters tell.
func isName(host string) bool {
	const most = 253
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	allDigits := !strings.ContainsFunc(labels[len(labels)-1], func(r rune) bool { return r < '0' || r > '9' })
	return len(host) <= most && !allDigits && !slices.ContainsFunc(labels, func(label string) bool {
		return label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return !(r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
		})
	})
}
