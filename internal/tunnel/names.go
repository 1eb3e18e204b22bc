// SPDX-License-Identifier: Apache-2.0

package tunnel

import "fmt"

// SettingNames has the name of each setting that an error may ask a person to change.
// The program that reads the settings gives the names: for a command they are flags,
// with their dashes.
type SettingNames struct {
	ProxyServer    string // Server.Name
	Mode           string // Server.Mode, unless Modes has it
	CACert         string // TLS.CAFile
	ClientCert     string // TLS.CertFile
	ClientKey      string // TLS.KeyFile
	ServerName     string // TLS.ServerName
	ExcludeCIDR    string // addresses that are not the shoot's
	MaxConnections string // how many connections may be open
	MaxDials       string // how many dials may be in flight
	TotalBuffer    string // how many bytes may be held for all connections

	Exit           string // Exits.Targets
	ExitCACert     string // Exits.TLS.CAFile
	ExitClientCert string // Exits.TLS.CertFile
	ExitClientKey  string // Exits.TLS.KeyFile
	ExitServerName string // Exits.TLS.ServerName
	ExitPolicy     string // Exits.Required

	ConnectionBuffer string // how many bytes may be held for one app
	IdleTimeout      string // how long nothing may move on a connection
	ListenAddress    string // where proxy-client listens for redirected connections
	ProxyPort        string // init-redirect's: the port to which it redirects

	// Modes has how a person sets each mode, if a configuration file gives the servers. It is
	// nil if Mode does.
	Modes map[Mode]string
}

// ModeIs returns the setting by which a server has mode, for example --mode=grpc.
func (n SettingNames) ModeIs(mode Mode) string {
	if setting, ok := n.Modes[mode]; ok {
		return setting
	}
	return fmt.Sprintf("%s=%s", n.Mode, mode)
}

// OtherMode returns the setting for a server that speaks mode. Over a Unix socket there is no
// ALPN, so ModeAuto means gRPC there.
func (n SettingNames) OtherMode(server Server, mode Mode) string {
	if n.Modes != nil || server.Network == NetworkUnix {
		return n.ModeIs(mode)
	}
	return n.ModeIs(mode) + ", or " + string(ModeAuto)
}
