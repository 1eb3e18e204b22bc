// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/strictyaml"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// The types below are EgressSelectorConfiguration of apiserver.k8s.io. Its versions
// v1alpha1 and v1beta1 have the same fields. Decoding is strict: a field that is not here
// is refused.
type egressSelectorConfiguration struct {
	APIVersion       string            `yaml:"apiVersion"`
	Kind             string            `yaml:"kind"`
	EgressSelections []egressSelection `yaml:"egressSelections"`
}

type egressSelection struct {
	Name       string           `yaml:"name"`
	Connection egressConnection `yaml:"connection"`
}

type egressConnection struct {
	ProxyProtocol string           `yaml:"proxyProtocol"`
	Transport     *egressTransport `yaml:"transport"`
}

type egressTransport struct {
	TCP *egressTCP `yaml:"tcp"`
	UDS *egressUDS `yaml:"uds"`
}

type egressTCP struct {
	URL       string     `yaml:"url"`
	TLSConfig *egressTLS `yaml:"tlsConfig"`
}

type egressTLS struct {
	CABundle      string `yaml:"caBundle"`
	ClientKey     string `yaml:"clientKey"`
	ClientCert    string `yaml:"clientCert"`
	TLSServerName string `yaml:"tlsServerName"`
}

type egressUDS struct {
	UDSName string `yaml:"udsName"`
}

// Names in the file.
const (
	egressFlag      = "--egress-selector-config-file"
	egressKind      = "EgressSelectorConfiguration"
	egressGroup     = "apiserver.k8s.io/"
	egressSelected  = "cluster"
	protocolGRPC    = "GRPC"
	protocolConnect = "HTTPConnect"
	protocolDirect  = "Direct"
)

// checkEgressConflicts refuses flags for values that the file gives.
func (o *ProxyClient) checkEgressConflicts() error {
	mode := o.Mode
	if mode == string(tunnel.ModeAuto) {
		mode = "" // the default is no choice
	}
	for _, other := range []struct{ flag, value string }{
		{"--proxy-server", strings.Join(o.ProxyServer, ",")},
		{"--mode", mode},
		{"--ca-cert", o.CACert},
		{"--client-cert", o.ClientCert},
		{"--client-key", o.ClientKey},
	} {
		if other.value != "" {
			return &flagset.UsageError{
				Flag: other.flag, Value: other.value,
				Problem: fmt.Sprintf("contradicts %s %q, which gives server, mode and TLS files: remove one of the two flags", egressFlag, o.EgressSelectorConfigFile),
			}
		}
	}
	return nil
}

// readEgressSelector returns the server and the TLS files of the selection
// "cluster" in the file at path.
func readEgressSelector(path string) ([]server, tlsFiles, error) {
	from := flagSource(egressFlag, path)
	data, err := readFile(path, from)
	if err != nil {
		return nil, tlsFiles{}, err
	}
	config, err := parseEgressSelector(data)
	if err != nil {
		return nil, tlsFiles{}, from.refuse(err.Error(), err)
	}
	connection, err := config.cluster()
	if err != nil {
		return nil, tlsFiles{}, from.refuse(err.Error(), err)
	}
	s, files, err := connection.server(from)
	if err != nil {
		return nil, tlsFiles{}, from.refuse(fmt.Sprintf("cannot be used: selection %q: %v", egressSelected, err), err)
	}
	return []server{s}, files, nil
}

// parseEgressSelector decodes one YAML or JSON document. It refuses unknown fields.
func parseEgressSelector(data []byte) (*egressSelectorConfiguration, error) {
	config := &egressSelectorConfiguration{}
	if err := strictyaml.Decode(data, egressKind, config); err != nil {
		return nil, err
	}
	version, ok := strings.CutPrefix(config.APIVersion, egressGroup)
	if !ok || version != "v1alpha1" && version != "v1beta1" {
		return nil, fmt.Errorf("has apiVersion %q: write %sv1beta1 or %sv1alpha1", config.APIVersion, egressGroup, egressGroup)
	}
	if config.Kind != egressKind {
		return nil, fmt.Errorf("has kind %q: write %s", config.Kind, egressKind)
	}
	return config, nil
}

// cluster returns the selection for traffic to the shoot's nodes, pods and services. The
// case of names does not matter, as in kube-apiserver.
func (c *egressSelectorConfiguration) cluster() (*egressConnection, error) {
	var found *egressConnection
	var names []string
	for i, selection := range c.EgressSelections {
		names = append(names, fmt.Sprintf("%q", selection.Name))
		if !strings.EqualFold(selection.Name, egressSelected) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("has the selection %q twice: keep one", egressSelected)
		}
		found = &c.EgressSelections[i].Connection
	}
	switch {
	case found != nil:
		return found, nil
	case len(names) == 0:
		return nil, fmt.Errorf("has no selection %q, and no other: add it", egressSelected)
	default:
		return nil, fmt.Errorf("has no selection %q, only %s: add it", egressSelected, strings.Join(names, ", "))
	}
}

// server returns the proxy-server and the TLS files of a connection. It refuses what
// kube-apiserver would refuse.
func (c *egressConnection) server(from source) (server, tlsFiles, error) {
	mode := tunnel.ModeHTTPConnect
	switch c.ProxyProtocol {
	case protocolConnect:
	case protocolGRPC:
		mode = tunnel.ModeGRPC
	case protocolDirect:
		return server{}, tlsFiles{}, errors.New("proxyProtocol Direct has no proxy-server to tunnel through: write GRPC or HTTPConnect")
	default:
		return server{}, tlsFiles{}, fmt.Errorf("proxyProtocol %q is not known: write GRPC or HTTPConnect", c.ProxyProtocol)
	}
	switch t := c.Transport; {
	case t == nil || t.TCP == nil && t.UDS == nil:
		return server{}, tlsFiles{}, errors.New("connection.transport has neither tcp nor uds: write one of them")
	case t.TCP != nil && t.UDS != nil:
		return server{}, tlsFiles{}, errors.New("connection.transport has both tcp and uds: write one of them")
	case t.UDS != nil:
		s, err := t.UDS.server(mode, from)
		return s, tlsFiles{}, err
	case mode == tunnel.ModeGRPC:
		return server{}, tlsFiles{}, errors.New("GRPC over tcp is not something that kube-apiserver can do: write uds or HTTPConnect, or use --proxy-server with --mode grpc")
	default:
		return t.TCP.server(mode, from)
	}
}

func (u *egressUDS) server(mode tunnel.Mode, from source) (server, error) {
	from.field = fmt.Sprintf("transport.uds.udsName %q", u.UDSName)
	if !strings.HasPrefix(u.UDSName, "/") {
		return server{}, errors.New(from.field + " is not an absolute path: write one such as /run/konnectivity/server.sock")
	}
	s, err := parseSocket("unix://"+u.UDSName, mode)
	if err != nil {
		// The advice for a flag has a scheme. This field has none.
		return server{}, errors.New(from.field + " " + strings.ReplaceAll(err.Error(), exampleSocket, strings.TrimPrefix(exampleSocket, "unix://")))
	}
	return server{s, from}, nil
}

func (t *egressTCP) server(mode tunnel.Mode, from source) (server, tlsFiles, error) {
	from.field = fmt.Sprintf("transport.tcp.url %q", t.URL)
	u, err := url.Parse(t.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http":
		return server{}, tlsFiles{}, errors.New(from.field + " is not an https URL: write it like https://proxy-server:8131")
	case u.Scheme == "http":
		return server{}, tlsFiles{}, errors.New(from.field + " is plaintext over TCP, which anybody on the way could read and use: write https")
	case u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return server{}, tlsFiles{}, errors.New(from.field + " has more than a host and a port: write it like https://proxy-server:8131")
	}
	s, err := parseServer(u.Host, mode)
	if err != nil {
		return server{}, tlsFiles{}, errors.New(from.field + " " + strings.ReplaceAll(err.Error(), exampleServer, "https://"+exampleServer))
	}
	if t.TLSConfig == nil {
		return server{}, tlsFiles{}, errors.New(from.field + " needs a tlsConfig with caBundle, clientCert and clientKey")
	}
	file := func(name, path string) tlsFile {
		at := from
		at.name = "tlsConfig." + name
		at.field = fmt.Sprintf("%s %q", at.name, path)
		return tlsFile{path: path, source: at}
	}
	// kube-apiserver requires both, and so does every proxy-server on TCP.
	switch "" {
	case t.TLSConfig.ClientCert:
		return server{}, tlsFiles{}, errors.New(from.field + " needs tlsConfig.clientCert: a proxy-server on TCP accepts nobody without one")
	case t.TLSConfig.ClientKey:
		return server{}, tlsFiles{}, errors.New(from.field + " needs tlsConfig.clientKey: a proxy-server on TCP accepts nobody without one")
	}
	return server{s, from}, tlsFiles{
		ca:   file("caBundle", t.TLSConfig.CABundle),
		cert: file("clientCert", t.TLSConfig.ClientCert),
		key:  file("clientKey", t.TLSConfig.ClientKey),
		name: file("tlsServerName", t.TLSConfig.TLSServerName),
	}, nil
}
