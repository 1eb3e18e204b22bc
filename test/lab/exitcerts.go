// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// ExitClientName is the common name in the certificate with which the sidecar comes to an
// exit.
const ExitClientName = "lab-exit-client"

// ExitCertificates are the PEM files of the exits and their client. They have a CA of
// their own: whoever may use the proxy-server is not yet a client of an exit.
type ExitCertificates struct {
	CA, Cert, Key, ClientCert, ClientKey string
	// Authority is the CA, for issuing more certificates.
	Authority *Authority
}

func newExitCertificates(dir string) (*ExitCertificates, error) {
	authority, err := NewAuthority(dir, "exit-ca")
	if err != nil {
		return nil, err
	}
	c := &ExitCertificates{CA: authority.File, Authority: authority}
	if c.Cert, c.Key, err = authority.IssueExit("exit"); err != nil {
		return nil, err
	}
	c.ClientCert, c.ClientKey, err = authority.Issue("exit-client", nil, nil)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(c.ClientKey, ProxyUID, ProxyUID); err != nil {
		return nil, fmt.Errorf("give the key of the exit's client to the sidecar: %w", err)
	}
	return c, nil
}

// IssueExit makes a certificate for all of a lab's exits. Its key belongs to [ExitUID].
func (a *Authority) IssueExit(name string) (cert, key string, err error) {
	var addrs []netip.Addr
	for i := range MaxExits {
		addrs = append(addrs, ExitAddress(IPv4, i), ExitAddress(IPv6, i))
	}
	cert, key, err = a.Issue(name, addrs, []string{ExitName})
	if err != nil {
		return "", "", err
	}
	if err := os.Chown(key, ExitUID, ExitUID); err != nil {
		return "", "", fmt.Errorf("give the key of %s to the exit: %w", filepath.Base(cert), err)
	}
	return cert, key, nil
}
