// SPDX-License-Identifier: Apache-2.0

package shoot

import "net/netip"

// Namespace is the namespace of the seed with the shoot's control plane.
const Namespace = "shoot"

// Addresses of the shoot. Its node is alone in its network namespace.
var (
	// Address is the node's address.
	Address = netip.AddrFrom4([4]byte{10, 250, 0, 1})
	// Pods, Services and DNS are those of the cluster. All addresses lie in the ranges
	// that the documents use in their examples.
	Pods     = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 24)
	Services = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 104, 0, 0}), 24)
	DNS      = netip.AddrFrom4([4]byte{100, 104, 0, 10})
	// LoadBalancer is the address at which the shoot reaches its control plane. It is in
	// TEST-NET-1 (RFC 5737), as the ends of the cable are.
	LoadBalancer = netip.AddrFrom4([4]byte{192, 0, 2, 129})

	kubernetes = netip.AddrFrom4([4]byte{100, 104, 0, 1}) // the Service of kube-apiserver
	wireSeed   = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 30)
	wireShoot  = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, 2}), 30)
)

// Ports of the Service konnectivity-server, for clients in the seed.
const (
	GRPCPort        = 8090
	HTTPConnectPort = 8131
)

// Service is the name of the proxy-servers' Service in [Namespace], for clients in the
// seed.
const Service = "konnectivity-server"

// ServerSecret is the Secret in [Namespace] with the proxy-servers' own certificate for
// clients, and its CA.
const ServerSecret = "konnectivity-server"

// SocketFolder is the folder of the seed's node with server.sock, the Unix socket of
// kube-apiserver's own proxy-server. Users of the group [control.User] can connect to it.
const SocketFolder = "/run/konnectivity-shoot"

// Frontend is a port of [Service].
type Frontend struct {
	// Mode is "grpc" or "http-connect", which is also the name of the port.
	Mode string
	Port int
}

// Frontends returns all ports of [Service].
func Frontends() []Frontend {
	var all []Frontend
	for _, server := range proxyServers() {
		if server.Frontend != 0 {
			all = append(all, Frontend{Mode: server.Name, Port: server.Frontend})
		}
	}
	return all
}

// proxyServer is one konnectivity proxy-server of the shoot, and its agent.
type proxyServer struct {
	Name string
	// Frontend is a port, or 0 for the Unix socket.
	Frontend int
	// Agents is the port of [LoadBalancer] for agents.
	Agents int
}

var (
	besideKubeAPIServer = proxyServer{Name: "kube-apiserver", Agents: 8141}
	forGRPC             = proxyServer{Name: "grpc", Frontend: GRPCPort, Agents: 8142}
	forHTTPConnect      = proxyServer{Name: "http-connect", Frontend: HTTPConnectPort, Agents: 8143}
)

func proxyServers() []proxyServer {
	return []proxyServer{besideKubeAPIServer, forGRPC, forHTTPConnect}
}
