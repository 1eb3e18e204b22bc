// SPDX-License-Identifier: Apache-2.0

package options

import "github.com/shoot-proxy/proxy-client/internal/tunnel"

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
