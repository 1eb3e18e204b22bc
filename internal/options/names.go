// SPDX-License-Identifier: Apache-2.0

package options

import (
	"fmt"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Names of flags, with their dashes, that other packages need: to translate what a library
// or a configuration calls by other names.
const (
	FlagShootPodCIDR   = "--shoot-pod-cidr"
	FlagListenAddress  = "--listen-address"
	FlagHealthAddress  = "--health-address"
	FlagAdminAddress   = "--admin-address"
	FlagEgressSelector = egressFlag
	FlagProxyUID       = "--proxy-uid"
	FlagExcludeUID     = "--exclude-uid"
	FlagIptables       = "--iptables"
	FlagNetns          = "--netns"
)

// settingNames returns what SettingNames does, except that what the egress selector's
// configuration gives is named by the field in that file. servers are those that are used.
func (o *ProxyClient) settingNames(servers []server) tunnel.SettingNames {
	names := SettingNames()
	if o.EgressSelectorConfigFile == "" {
		return names
	}
	field := func(name string) string { return egressFlag + "'s " + name }
	names.ProxyServer = field("transport")
	if strings.TrimSpace(o.ServerName) == "" { // else it is not in the file
		names.ServerName = field("tlsServerName")
	}
	names.CACert, names.ClientCert, names.ClientKey = field("caBundle"), field("clientCert"), field("clientKey")
	names.Mode = field("proxyProtocol")
	names.Modes = egressModes(names.Mode, servers[0])
	return names
}

// egressModes returns how each mode is set for the server of an egress selector's
// configuration. field is the name of the field that has the mode.
func egressModes(field string, s server) map[tunnel.Mode]string {
	modes := map[tunnel.Mode]string{tunnel.ModeHTTPConnect: field + "=" + protocolConnect}
	if s.Network == tunnel.NetworkUnix {
		modes[tunnel.ModeGRPC] = field + "=" + protocolGRPC
	}
	flags := SettingNames()
	for _, mode := range tunnel.Modes() {
		if _, ok := modes[mode]; !ok {
			modes[mode] = fmt.Sprintf("%s with %s in place of %s", flags.ProxyServer, flags.ModeIs(mode), egressFlag)
		}
	}
	return modes
}

// SettingNames returns the flags by which packages that know no flags name a setting in
// an error.
func SettingNames() tunnel.SettingNames {
	return tunnel.SettingNames{
		ProxyServer:    "--proxy-server",
		Mode:           "--mode",
		CACert:         "--ca-cert",
		ClientCert:     "--client-cert",
		ClientKey:      "--client-key",
		ServerName:     "--server-name",
		ExcludeCIDR:    "--exclude-cidr",
		MaxConnections: "--max-connections",
		MaxDials:       "--max-dials",
		TotalBuffer:    "--total-buffer",

		Exit:           FlagExit,
		ExitCACert:     flagExitCACert,
		ExitClientCert: flagExitClientCert,
		ExitClientKey:  flagExitClientKey,
		ExitServerName: flagExitServerName,
		ExitPolicy:     flagExitPolicy,

		ConnectionBuffer: "--connection-buffer",
		IdleTimeout:      "--idle-timeout",
		ListenAddress:    FlagListenAddress,
		ProxyPort:        "--proxy-port",
	}
}
