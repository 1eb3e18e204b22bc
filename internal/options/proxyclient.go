// SPDX-License-Identifier: Apache-2.0

package options

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// ProxyClient are the flags of proxy-client as they were given, validated by
// Config. Make one with [NewProxyClient]: the zero value has no defaults.
type ProxyClient struct {
	Shared
	// ListenAddress is --listen-address, loopback addresses with a port. Nil
	// means port defaults.ProxyPort on 127.0.0.1, ::1 or both, by the families of the
	// CIDRs.
	ListenAddress []string
	// ProxyServer is --proxy-server, host:port or unix:///path each.
	ProxyServer []string
	// Mode is --mode: auto, grpc, http-connect, https-proxy or h2-connect.
	Mode string
	// CACert, ClientCert and ClientKey are --ca-cert, --client-cert and
	// --client-key, paths of PEM files.
	CACert, ClientCert, ClientKey string
	// ServerName is --server-name, empty for the host of each server.
	ServerName string
	// ALPNProto is --alpn-proto, protocols beyond h2 and http/1.1.
	ALPNProto []string
	// EgressSelectorConfigFile is --egress-selector-config-file.
	EgressSelectorConfigFile string
	// The flags about exits: Exit, ExitCACert, ExitServerName, ExitClientCert,
	// ExitClientKey and ExitPolicy.
	ExitFlags
	// DialTimeout, HalfCloseTimeout and DrainTimeout are --dial-timeout,
	// --half-close-timeout and --drain-timeout.
	DialTimeout, HalfCloseTimeout, DrainTimeout time.Duration
	// IdleTimeout is --idle-timeout, 0 for none.
	IdleTimeout time.Duration
	// ServerKeepalive is --server-keepalive, 1 s to 1 h.
	ServerKeepalive time.Duration
	// MaxDials is --max-dials, 1 to 1000000.
	MaxDials int64
	// MaxConnections is --max-connections, 1 to 1000000, or 0 for as many as
	// the open files allow.
	MaxConnections int64
	// ConnectionBuffer and TotalBuffer are --connection-buffer and
	// --total-buffer, in bytes.
	ConnectionBuffer, TotalBuffer int64
	// AcceptWhileDraining is --accept-while-draining.
	AcceptWhileDraining bool
	// HealthAddress is --health-address, host:port or :port.
	HealthAddress string
	// AdminAddress is --admin-address, a loopback address with a port, or empty for none.
	AdminAddress string
}

// NewProxyClient returns proxy-client's flags at their defaults.
func NewProxyClient() *ProxyClient {
	return &ProxyClient{
		Shared:           defaultShared(),
		Mode:             string(tunnel.ModeAuto),
		ExitFlags:        ExitFlags{ExitPolicy: ExitPrefer},
		DialTimeout:      defaults.DialTimeout,
		ServerKeepalive:  defaults.ServerKeepalive,
		HalfCloseTimeout: defaults.HalfCloseTimeout,
		DrainTimeout:     defaults.DrainTimeout,
		MaxDials:         defaults.MaxDials,
		ConnectionBuffer: defaults.ConnectionBuffer,
		TotalBuffer:      defaults.TotalBuffer,
		HealthAddress:    fmt.Sprintf(":%d", defaults.HealthPort),
		AdminAddress:     fmt.Sprintf("127.0.0.1:%d", defaults.AdminPort),
	}
}

func (o *ProxyClient) flags() []flagset.Flag {
	return slices.Concat(o.Shared.flags(), []flagset.Flag{
		flagset.List("proxy-server", &o.ProxyServer, "konnectivity `servers`, host:port or unix:///path each, such as vpn-proxy-server:8090; comma-separated or repeated; required unless --egress-selector-config-file is given"),
		flagset.Text("mode", &o.Mode, "`mode` of the servers: grpc, http-connect, https-proxy or h2-connect for a standard CONNECT proxy over HTTP/1.1 or HTTP/2, or auto for what each of them shows; over a Unix socket auto means grpc"),
		flagset.Text("ca-cert", &o.CACert, "PEM `file` with the CA certificates that servers are verified against; required for a server on TCP"),
		flagset.Text("client-cert", &o.ClientCert, "PEM `file` with the client certificate shown to servers, needs --client-key"),
		flagset.Text("client-key", &o.ClientKey, "PEM `file` with the key of --client-cert"),
		flagset.Text("server-name", &o.ServerName, "`name` to ask for (TLS SNI) and to verify, for servers behind a shared load balancer (default the host of each --proxy-server)"),
		flagset.List("alpn-proto", &o.ALPNProto, "further ALPN `protocols` to offer besides h2 and http/1.1; comma-separated or repeated"),
		flagset.Text("egress-selector-config-file", &o.EgressSelectorConfigFile, "`file` with kube-apiserver's EgressSelectorConfiguration (v1alpha1 or v1beta1, YAML or JSON), whose selection cluster gives server, mode and TLS files"),
	}, o.ExitFlags.flags(), []flagset.Flag{
		flagset.Duration("dial-timeout", &o.DialTimeout, "the whole budget of one dial, every retry and the wait for --max-dials included: a `duration` such as 8s"),
		flagset.Number("max-dials", &o.MaxDials, "how many `dials` may be in flight, a quarter of them to one destination; others wait for their turn"),
		{Name: "max-connections", Value: &limitValue{&o.MaxConnections, errLimit}, Usage: "how many `connections` may be open; new ones beyond are reset; never more than the limit of open files allows (default as many as that allows, at most " + strconv.Itoa(defaults.MaxConnections) + ")"},
		flagset.Duration("half-close-timeout", &o.HalfCloseTimeout, "how long to wait for the target after the app has finished sending, with nothing moving: a `duration` such as 60s"),
		flagset.Duration("idle-timeout", &o.IdleTimeout, "how long nothing may move on a connection until it is reset: a `duration` such as 1h; 0 for no such limit"),
		flagset.Duration("server-keepalive", &o.ServerKeepalive, "how long a connection to a server may be idle until TCP keepalive asks whether it stands: a `duration` in whole seconds such as 5s, less than anything in between forgets idle connections after; a server that does not answer is given up 5s later"),
		flagset.Size("connection-buffer", &o.ConnectionBuffer, "how much one connection whose app reads slowly may hold back before it is reset: a `size` such as 16MiB"),
		flagset.Size("total-buffer", &o.TotalBuffer, "how much all connections may hold back together, before the one that holds the most is reset: a `size` such as 256MiB"),
		flagset.Duration("drain-timeout", &o.DrainTimeout, "how long SIGTERM waits for open connections before it resets them: a `duration` such as 20s, less than the pod's grace period"),
		flagset.Switch("accept-while-draining", &o.AcceptWhileDraining, "keep accepting connections during the drain, for pods where the app gets SIGTERM at the same moment"),
		flagset.List("listen-address", &o.ListenAddress, fmt.Sprintf("loopback `addresses` where redirected connections arrive, such as %s; comma-separated or repeated; the port is init-redirect's --proxy-port (default port %d on the loopback address of each family that has a shoot CIDR)", exampleListen(), defaults.ProxyPort)),
		flagset.Text("health-address", &o.HealthAddress, "`address` of /livez, /readyz and /metrics: host:port, or :port for all addresses"),
		flagset.Text("admin-address", &o.AdminAddress, "loopback `address` of the status page, its JSON documents and Go's profiles, such as 127.0.0.1:14000; empty for none"),
	})
}

// AddFlags registers the flags on fs, and sets o to their defaults.
func (o *ProxyClient) AddFlags(fs *pflag.FlagSet) {
	*o = *NewProxyClient()
	flagset.Add(fs, o.flags())
}

// Names returns the names of the flags without dashes, in the order of README.md.
func (o *ProxyClient) Names() []string {
	var names []string
	for _, f := range o.flags() {
		names = append(names, f.Name)
	}
	return names
}

// Args returns the command line for o: each flag that is not at its default, as
// --flag=value, in a fixed order. Parsing it gives o again, unless an element of a list
// contains a comma.
func (o *ProxyClient) Args() []string {
	return flagset.Args(o.flags(), NewProxyClient().flags())
}

// ProxyClientConfig is what proxy-client needs to run, validated.
type ProxyClientConfig struct {
	// CIDRs are the destinations that may be tunnelled.
	CIDRs *cidr.Set
	// Listen are loopback addresses, at least one for each family of CIDRs.
	Listen []netip.AddrPort
	// Servers has at least one element and no duplicates.
	Servers []tunnel.Server
	// TLS is for the servers on TCP.
	TLS tunnel.TLS
	// Exits is the zero value if there is none.
	Exits tunnel.Exits
	// Names are what errors call the settings: flags, or fields of the egress selector's
	// configuration.
	Names tunnel.SettingNames
	// DialTimeout, HalfCloseTimeout and DrainTimeout are positive.
	DialTimeout, HalfCloseTimeout, DrainTimeout time.Duration
	// IdleTimeout is at least a second, or 0 for none.
	IdleTimeout time.Duration
	// ServerKeepalive has whole seconds, 1 to 3600.
	ServerKeepalive time.Duration
	// MaxDials is positive.
	MaxDials int
	// MaxConnections is positive, or 0 for as many as the open files allow.
	MaxConnections int
	// ConnectionBuffer and TotalBuffer are in bytes, TotalBuffer the larger.
	ConnectionBuffer, TotalBuffer int64
	// AcceptWhileDraining keeps the listener open during the drain.
	AcceptWhileDraining bool
	// HealthAddress is host:port, with an empty host for all addresses.
	HealthAddress string
	// AdminAddress is on loopback. It is invalid if there is to be none.
	AdminAddress netip.AddrPort
	// Log says how to log.
	Log Log
}
