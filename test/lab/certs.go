// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Certificates are the paths of the lab's PEM files. The frontend and the agents' side
// have one CA each, as in a real control plane.
type Certificates struct {
	FrontendCA, ServerCert, ServerKey, ClientCert, ClientKey string
	AgentCA, ClusterCert, ClusterKey, AgentCert, AgentKey    string
	// ExpiredCert and ExpiredKey are a client's pair that expired a day ago.
	ExpiredCert, ExpiredKey string
	// Frontend and Agents are the two authorities, for issuing more certificates.
	Frontend, Agents *Authority
}

// ServerName is a DNS name in the frontend's certificate, besides its addresses.
const ServerName = "konnectivity-server.seed.lab"

// Authority is a CA that belongs to the lab.
type Authority struct {
	// File is the PEM file with its certificate.
	File string

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newCertificates writes a fresh set below dir. Keys of the client belong to [ProxyUID],
// so that the sidecar can read them and no other app can. If name is not empty, both
// certificates of the server have it.
func newCertificates(dir, name string) (*Certificates, error) {
	path := func(name string) string { return filepath.Join(dir, name) }
	c := &Certificates{
		FrontendCA: path("frontend-ca.crt"), AgentCA: path("agent-ca.crt"),
		ServerCert: path("server.crt"), ServerKey: path("server.key"),
		ClientCert: path("client.crt"), ClientKey: path("client.key"),
		ClusterCert: path("cluster.crt"), ClusterKey: path("cluster.key"),
		AgentCert: path("agent.crt"), AgentKey: path("agent.key"),
		ExpiredCert: path("expired.crt"), ExpiredKey: path("expired.key"),
	}
	frontend, err := NewAuthority(dir, "frontend-ca")
	if err != nil {
		return nil, err
	}
	agents, err := NewAuthority(dir, "agent-ca")
	if err != nil {
		return nil, err
	}
	c.Frontend, c.Agents = frontend, agents
	server := []netip.Addr{SeedAddress(IPv4), SeedAddress(IPv6)}
	for i := range MaxServers {
		server = append(server, ServerAddress(IPv4, i), ServerAddress(IPv6, i))
	}
	cluster := []netip.Addr{netip.MustParsePrefix(seedShootIPv4).Addr(), netip.MustParsePrefix(seedShootIPv6).Addr()}
	serverNames, clusterNames := []string{ServerName}, []string(nil)
	if name != "" {
		serverNames, clusterNames = append(serverNames, name), append(clusterNames, name)
	}
	for _, leaf := range []struct {
		ca    *Authority
		name  string
		addrs []netip.Addr
		dns   []string
		age   time.Duration
	}{
		{frontend, "server", server, serverNames, 0},
		{frontend, "client", nil, nil, 0},
		{frontend, "expired", nil, nil, 48 * time.Hour},
		{agents, "cluster", cluster, clusterNames, 0},
		{agents, "agent", nil, nil, 0},
	} {
		if err := leaf.ca.issue(leaf.name, leaf.addrs, leaf.dns, leaf.age); err != nil {
			return nil, err
		}
	}
	for _, key := range []string{c.ClientKey, c.ExpiredKey} {
		if err := os.Chown(key, ProxyUID, ProxyUID); err != nil {
			return nil, fmt.Errorf("give the client's key to the sidecar: %w", err)
		}
	}
	return c, nil
}

func NewAuthority(dir, name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certificate(name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{File: filepath.Join(dir, name+".crt"), dir: dir, cert: cert, key: key}, writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der, 0o644)
}

// WriteKey writes the authority's own key into a PEM file that only root can read. It is
// for tests that issue certificates by other means.
func (a *Authority) WriteKey(path string) error {
	private, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return fmt.Errorf("write the key of CA %s: %w", a.File, err)
	}
	return writePEM(path, "PRIVATE KEY", private, 0o600)
}

// Issue makes another certificate, valid for both ends of a connection. It is in name.crt
// beside the authority's own. Its key is in name.key, which only root can read.
func (a *Authority) Issue(name string, addrs []netip.Addr, dns []string) (cert, key string, err error) {
	base := filepath.Join(a.dir, name)
	return base + ".crt", base + ".key", a.issue(name, addrs, dns, 0)
}

// IssueValid does the same as Issue for a certificate that is valid between these times.
func (a *Authority) IssueValid(name string, addrs []netip.Addr, dns []string, from, until time.Time) (cert, key string, err error) {
	base := filepath.Join(a.dir, name)
	return base + ".crt", base + ".key", a.issueValid(name, addrs, dns, from, until)
}

// issue does the same as Issue for a certificate that was made some time ago.
func (a *Authority) issue(name string, addrs []netip.Addr, dns []string, age time.Duration) error {
	fresh := certificate(name)
	return a.issueValid(name, addrs, dns, fresh.NotBefore.Add(-age), fresh.NotAfter.Add(-age))
}

func (a *Authority) issueValid(name string, addrs []netip.Addr, dns []string, from, until time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := certificate(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, addr := range addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	template.DNSNames = dns
	template.NotBefore, template.NotAfter = from, until
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("issue certificate %s: %w", name, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(a.dir, name+".crt"), "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	return writePEM(filepath.Join(a.dir, name+".key"), "PRIVATE KEY", private, 0o600)
}

func certificate(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails since Go 1.24
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "lab-" + name},
		NotBefore:    time.Now().Add(-3 * time.Hour), // also valid if a test sets a clock back by an hour or two
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
