// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"crypto/x509"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// The roles of the certificates for exits.
const (
	roleExit       tlsfiles.Role = status.RoleExit       // that an exit has shown
	roleExitClient tlsfiles.Role = status.RoleExitClient // of the client's chain for exits
	roleExitCA     tlsfiles.Role = status.RoleExitCA     // of the bundle with which exits are verified
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
	w.mu.Lock()
	defer w.mu.Unlock()
	e.shown, e.seen = first, time.Now()
}

// Certificate is one in use for exits.
type Certificate struct {
	tlsfiles.InUse
	Exit string    // the exit that has shown it, or "" for one of the files
	Seen time.Time // when the exit has last shown it
}

// Certificates returns the certificates in use at now: those of the files for exits, and those
// that exits have shown last.
func (w *Way) Certificates(now time.Time) []Certificate {
	var all []Certificate
	for _, in := range w.files.InUse(now) {
		if len(all) == status.MaxCertificates {
			break
		}
		switch in.Role {
		case tlsfiles.RoleCA:
			in.Role = roleExitCA
		case tlsfiles.RoleClient:
			in.Role = roleExitClient
		}
		all = append(all, Certificate{InUse: in})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.exits {
		if c := e.shown; c != nil {
			in := tlsfiles.InUse{Role: roleExit, Certificate: c, Problem: tlsfiles.Warning(now, c.NotBefore, c.NotAfter)}
			all = append(all, Certificate{InUse: in, Exit: e.target.String(), Seen: e.seen})
		}
	}
	return all
}
