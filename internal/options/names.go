// SPDX-License-Identifier: Apache-2.0

package options

import "github.com/shoot-proxy/proxy-client/internal/tunnel"

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
		TotalBuffer:    "--total-buffer",
	}
}
