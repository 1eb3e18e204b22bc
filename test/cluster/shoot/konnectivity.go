// SPDX-License-Identifier: Apache-2.0

package shoot

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Konnectivity are the certificates of the proxy-servers, as files. Their clients' side
// and their agents' side have one CA each.
type Konnectivity struct {
	// Frontend has ca.crt, server.crt and server.key, and client.crt and client.key
	// for a client.
	Frontend string `json:"frontend"`
	// FrontendCAKey is the file with the key of Frontend's CA, for issuing more clients'
	// certificates.
	FrontendCAKey string `json:"frontendCAKey"`
	// Agents has ca.crt, server.crt and server.key, agent.crt and agent.key.
	Agents string `json:"agents"`
}

func newKonnectivity(dir string) (*Konnectivity, error) {
	k := &Konnectivity{
		Frontend: filepath.Join(dir, "frontend"), Agents: filepath.Join(dir, "agents"),
		FrontendCAKey: filepath.Join(dir, "frontend-ca.key"), // not in that folder: no pod gets it
	}
	for _, folder := range []string{k.Frontend, k.Agents} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	frontend, err := lab.NewAuthority(k.Frontend, "ca")
	if err != nil {
		return nil, err
	}
	if err := frontend.WriteKey(k.FrontendCAKey); err != nil {
		return nil, err
	}
	agents, err := lab.NewAuthority(k.Agents, "ca")
	if err != nil {
		return nil, err
	}
	name := Service + "." + Namespace
	for _, leaf := range []struct {
		ca        *lab.Authority
		name      string
		addresses []netip.Addr
		names     []string
	}{
		{frontend, "server", nil, []string{Service, name, name + ".svc", name + ".svc.cluster.local"}},
		{frontend, "client", nil, nil},
		{agents, "server", []netip.Addr{LoadBalancer}, nil},
		{agents, "agent", nil, nil},
	} {
		if _, _, err := leaf.ca.Issue(leaf.name, leaf.addresses, leaf.names); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// pair returns the files of a certificate in a folder for [secret], with its CA, under the
// names that deploy/control-plane expects.
func pair(dir, name string) map[string]string {
	return map[string]string{
		"ca.crt":                filepath.Join(dir, "ca.crt"),
		corev1.TLSCertKey:       filepath.Join(dir, name+".crt"),
		corev1.TLSPrivateKeyKey: filepath.Join(dir, name+".key"),
	}
}

// CA returns the file with the CA of the proxy-servers' certificate.
func (k *Konnectivity) CA() string { return filepath.Join(k.Frontend, "ca.crt") }

// ClientCert returns the file with a client's certificate.
func (k *Konnectivity) ClientCert() string { return filepath.Join(k.Frontend, "client.crt") }

// ClientKey returns the file with the key of that certificate.
func (k *Konnectivity) ClientKey() string { return filepath.Join(k.Frontend, "client.key") }

// CredentialsSecret is the Secret in [Namespace] with what a kube-apiserver needs.
const CredentialsSecret = "credentials"

// Names of the Secrets of [Konnectivity.ClientSecrets].
const (
	CASecret     = "ca-proxy"
	ClientSecret = "proxy-client-tls"
)

// ClientSecrets returns what a client of the proxy-servers needs in its namespace:
// [CASecret] with ca.crt, and [ClientSecret] with tls.crt and tls.key.
func (k *Konnectivity) ClientSecrets() ([]*corev1.Secret, error) {
	ca, err := secret(CASecret, corev1.SecretTypeOpaque, map[string]string{"ca.crt": k.CA()})
	if err != nil {
		return nil, err
	}
	client, err := secret(ClientSecret, corev1.SecretTypeTLS, map[string]string{
		corev1.TLSCertKey: k.ClientCert(), corev1.TLSPrivateKeyKey: k.ClientKey(),
	})
	return []*corev1.Secret{ca, client}, err
}

// secret returns a Secret that has each file under its key.
func secret(name string, kind corev1.SecretType, files map[string]string) (*corev1.Secret, error) {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind, Data: map[string][]byte{}}
	for key, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", name, err)
		}
		s.Data[key] = text
	}
	return s, nil
}

// folder returns every file of a folder for [secret], under its own name.
func folder(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, entry := range entries {
		files[entry.Name()] = filepath.Join(dir, entry.Name())
	}
	return files, nil
}
