// SPDX-License-Identifier: Apache-2.0

package tunnel

// SettingNames has the name of each setting that an error may ask a person to change.
// The program that reads the settings gives the names: for a command they are flags,
// with their dashes.
type SettingNames struct {
	ProxyServer    string // Server.Name
	Mode           string // Server.Mode
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
}
