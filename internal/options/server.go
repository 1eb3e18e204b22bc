// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// server is a tunnel.Server and the place where it was configured.
type server struct {
	tunnel.Server
	source source
}

// servers reads --proxy-server and --mode.
func (o *ProxyClient) servers() ([]server, error) {
	mode := tunnel.Mode(o.Mode)
	if !slices.Contains(tunnel.Modes(), mode) {
		return nil, &flagset.UsageError{Flag: "--mode", Value: o.Mode, Problem: "is not a mode: write auto, grpc, http-connect, https-proxy or h2-connect"}
	}
	values, err := elements("--proxy-server", o.ProxyServer, "proxy-server-0:8090,proxy-server-1:8090")
	if err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return nil, &flagset.UsageError{
			Flag:    "--proxy-server",
			Problem: "is not given: name at least one server as host:port or unix:///path, or give --egress-selector-config-file",
		}
	}
	var servers []server
	for _, value := range values {
		from := flagSource("--proxy-server", value)
		s, err := parseServer(value, mode)
		if err != nil {
			return nil, from.refuse(err.Error(), err)
		}
		for _, other := range servers {
			if other.Network == s.Network && strings.EqualFold(other.Address, s.Address) {
				return nil, from.refuse(fmt.Sprintf("is the same server as %q: write it once", other.Name), nil)
			}
		}
		servers = append(servers, server{s, from})
	}
	return servers, nil
}

// parseServer reads one server: host:port, [IPv6]:port or unix:///path.
func parseServer(value string, mode tunnel.Mode) (tunnel.Server, error) {
	if strings.HasPrefix(value, "unix:") {
		return parseSocket(value, mode)
	}
	if strings.Contains(value, "://") {
		return tunnel.Server{}, errors.New("is a URL: write host:port alone, or unix:///path")
	}
	if strings.HasPrefix(value, "/") {
		instead := "unix://" + value
		if _, err := parseSocket(instead, mode); err != nil {
			instead = exampleSocket
		}
		return tunnel.Server{}, fmt.Errorf("is a path: write it like %s for a Unix socket", instead)
	}
	host, port, err := hostPort(value, exampleServer)
	if err != nil {
		return tunnel.Server{}, err
	}
	if host == "" {
		return tunnel.Server{}, errors.New("has no host: write it like " + exampleServer)
	}
	if err := checkHost(host, "write the address or name of a server"); err != nil {
		return tunnel.Server{}, fmt.Errorf("has a host that %w", err)
	}
	return tunnel.Server{Name: value, Network: tunnel.NetworkTCP, Address: net.JoinHostPort(canonicalHost(host), strconv.Itoa(int(port))), Mode: mode}, nil
}

// canonicalHost returns an IP address in its canonical form, and a name unchanged.
func canonicalHost(host string) string {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Unmap().String()
	}
	return host
}

// Examples of servers for advice.
const (
	exampleServer = "vpn-proxy-server:8090"
	exampleSocket = "unix:///run/konnectivity/server.sock"
)

// parseSocket reads unix:///path. A Unix socket is plaintext and negotiates nothing, so
// auto means gRPC there.
func parseSocket(value string, mode tunnel.Mode) (tunnel.Server, error) {
	// unix(7): sun_path has 108 bytes, and one of them is for the final zero.
	const longest = 107
	path, ok := strings.CutPrefix(value, "unix://")
	if !ok || !filepath.IsAbs(path) {
		return tunnel.Server{}, errors.New("has no absolute path: write it like " + exampleSocket)
	}
	path = filepath.Clean(path)
	switch {
	case path == "/" || strings.HasSuffix(value, "/"):
		return tunnel.Server{}, errors.New("is a directory: write it like " + exampleSocket)
	case strings.ContainsRune(path, 0):
		return tunnel.Server{}, errors.New("has a zero byte in its path")
	case len(path) > longest:
		return tunnel.Server{}, fmt.Errorf("has a path of %d bytes: a Unix socket's has at most %d", len(path), longest)
	}
	if mode == tunnel.ModeAuto {
		mode = tunnel.ModeGRPC
	}
	return tunnel.Server{Name: value, Network: tunnel.NetworkUnix, Address: path, Mode: mode}, nil
}

// checkServers refuses servers that the redirect would lead back to proxy-client: an
// address inside of the set, and its own listener. The dialer checks names when it
// resolves them.
func checkServers(servers []server, set *cidr.Set, listen []netip.AddrPort) error {
	for _, s := range servers {
		address, err := netip.ParseAddrPort(s.Address)
		if s.Network != tunnel.NetworkTCP || err != nil {
			continue
		}
		if entry, inside := set.Covering(address.Addr().WithZone("")); inside {
			problem := fmt.Sprintf("lies inside of %s, so the tunnel would lead into itself: correct the CIDR", entry)
			if own := netip.PrefixFrom(address.Addr(), address.Addr().BitLen()); set.RemainsWithout(own) {
				problem += ", or add --exclude-cidr " + own.String()
			}
			return s.source.refuse(problem, nil)
		}
		for _, l := range listen {
			if l == address {
				return s.source.refuse("is our own --listen-address: write the address of a proxy-server", nil)
			}
		}
	}
	return nil
}
