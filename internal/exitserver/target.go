// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
)

// target is the destination that a client has asked for.
type target struct {
	name string     // in lower case, without a dot at its end; empty for an address
	addr netip.Addr // invalid for a name
	port uint16
}

// String returns the target as a client writes it.
func (t target) String() string {
	host := t.name
	if host == "" {
		host = t.addr.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(t.port)))
}

// parseTarget reads the authority of a CONNECT request, host:port (RFC 9110 9.3.6). An
// IPv4-mapped address is IPv4. problem is a clause about it that the client may read, or
// empty. With a problem, t is the zero value.
func parseTarget(authority string) (t target, problem string) {
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		return t, "the authority is not host:port"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return t, "the port is not a number from 1 to 65535"
	}
	t.port = uint16(number)
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return target{}, "the address has a zone, which means something only on the client's machine"
		}
		t.addr = addr.Unmap()
		return t, ""
	}
	t.name = strings.ToLower(strings.TrimSuffix(host, "."))
	if !exitpolicy.IsName(t.name) {
		return target{}, "the host is neither an IP address nor a DNS name"
	}
	return t, ""
}
