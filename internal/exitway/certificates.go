// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"crypto/x509"

	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// The roles of the certificates for exits.
const (
	roleExit       tlsfiles.Role = "exit"        // that an exit has shown
	roleExitClient tlsfiles.Role = "exit_client" // of the client's chain for exits
	roleExitCA     tlsfiles.Role = "exit_ca"     // of the bundle with which exits are verified
)

// newFiles returns the TLS files for exits. Their errors name the settings of exits.
func newFiles(cfg *Config) *tlsfiles.Files {
	names := tunnel.SettingNames{CACert: cfg.Names.ExitCACert, ClientCert: cfg.Names.ExitClientCert, ClientKey: cfg.Names.ExitClientKey}
	return tlsfiles.New(cfg.Exits.TLS, names, cfg.Logger, func(role tlsfiles.Role, c *x509.Certificate) {
		switch role {
		case tlsfiles.RoleCA:
			cfg.record(roleExitCA, "", c)
		case tlsfiles.RoleClient:
			cfg.record(roleExitClient, "", c)
		}
	})
}

func (c *Config) record(role tlsfiles.Role, exit string, shown *x509.Certificate) {
	if c.Certificate != nil {
		c.Certificate(role, exit, shown)
	}
}

// showed records the certificate that e has shown for t: of its chain, the one that expires
// first.
func (w *Way) showed(e *exit, t *exitTunnel) {
	var first *x509.Certificate
	for _, c := range t.certificates {
		if first == nil || c.NotAfter.Before(first.NotAfter) {
			first = c
		}
	}
	if first != nil {
		w.cfg.record(roleExit, e.target.String(), first)
	}
}
