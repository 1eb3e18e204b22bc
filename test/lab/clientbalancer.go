// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// BalancerPort is the port of a [ClientBalancer], on the address of its server.
const BalancerPort = 8132

// BalancerKind is a kind of balancer between sidecar and proxy-server. Its value is the
// name of its configuration file in balancers/.
type BalancerKind string

// The kinds. Those with TCP pass the bytes on unchanged. Those with TLS decrypt the bytes
// of each side and encrypt them again for the other. They present a client certificate of
// their own to the server. Those with GRPC understand the protocol inside.
const (
	HAProxyTCP  BalancerKind = "haproxy-tcp.cfg"
	HAProxyTLS  BalancerKind = "haproxy-tls.cfg"
	HAProxyGRPC BalancerKind = "haproxy-http2.cfg"
	NginxTCP    BalancerKind = "nginx-tcp.conf"
	NginxTLS    BalancerKind = "nginx-tls.conf"
	NginxGRPC   BalancerKind = "nginx-grpc.conf"
)

// BalancerKinds returns all of them.
func BalancerKinds() []BalancerKind {
	return []BalancerKind{HAProxyTCP, HAProxyTLS, HAProxyGRPC, NginxTCP, NginxTLS, NginxGRPC}
}

//go:embed balancers
var balancerFiles embed.FS

// BalancerSettings are the values that a configuration in balancers/ needs.
type BalancerSettings struct {
	Listen, Server string // host:port
	ServerName     string // in the server's certificate
	CA             string // of servers and clients
	// Certificate and Key are presented to the sidecar, the other pair to the server.
	// HAProxy needs the key in the file of the certificate.
	Certificate, Key             string
	ClientCertificate, ClientKey string
	Protocol                     string // by ALPN, if TLS ends here and the bytes are not understood
	MaxStreams                   int    // on one connection at once, if the balancer understands HTTP/2
}

// Configuration fills in a kind's configuration file.
func (k BalancerKind) Configuration(s BalancerSettings) (string, error) {
	text, err := template.New(string(k)).Option("missingkey=error").ParseFS(balancerFiles, "balancers/"+string(k))
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = text.Execute(&b, s)
	return b.String(), err
}

// nginxProcess is the configuration of nginx around that of a kind. It has one process,
// which belongs to the lab and writes nowhere else.
const nginxProcess = `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr;
events { worker_connections 8192; }
%[2]s {
%[3]s
}
`

// nginxHTTP comes before a configuration for HTTP. It makes nginx log, for each request,
// its connection and its number on that connection.
const nginxHTTP = `log_format count '$connection $connection_requests';
access_log %[1]s/requests count;
client_body_temp_path %[1]s/body;
proxy_temp_path %[1]s/proxy;
fastcgi_temp_path %[1]s/fastcgi;
uwsgi_temp_path %[1]s/uwsgi;
scgi_temp_path %[1]s/scgi;
`

// ClientBalancer is Debian's HAProxy or nginx between the sidecar and one server.
type ClientBalancer struct {
	// Process is the balancer's latest process. After a Kill, Start makes another.
	*Process
	// MaxStreams is how many streams the balancer allows on one connection, from its next
	// start on. Only [HAProxyGRPC] and [NginxGRPC] have such a limit.
	MaxStreams int
	// Quiet is how long a connection through the balancer may be quiet, from its next
	// start on. 0 keeps the configured time, a day. Only HAProxy's can be set.
	Quiet time.Duration

	kind   BalancerKind
	server *Server
	dir    string
	starts int
}

// NewClientBalancer returns a balancer in front of a server, not yet started. Its address
// is a value for --proxy-server, as the server's own is.
func (s *Server) NewClientBalancer(kind BalancerKind) *ClientBalancer {
	return &ClientBalancer{kind: kind, server: s, MaxStreams: kind.maxStreams(), dir: filepath.Join(s.lab.Dir, fmt.Sprint("balancer", s.Index))}
}

// maxStreams returns how many streams a balancer allows on one connection if a test sets
// no limit. This is HAProxy's default, and more than nginx's limit of requests.
func (k BalancerKind) maxStreams() int {
	if k == NginxGRPC {
		return 4096
	}
	return 100
}

// Address returns the balancer's address as --proxy-server takes it.
func (b *ClientBalancer) Address() string {
	return net.JoinHostPort(b.server.Address(b.server.lab.podFamily()).String(), strconv.Itoa(BalancerPort))
}

// Start starts the balancer, also again after it has ended, and waits until it listens.
func (b *ClientBalancer) Start(ctx context.Context) error {
	b.starts++
	command, err := b.command()
	if err != nil {
		return err
	}
	seed := b.server.lab.Seed
	b.Process, err = seed.Start(fmt.Sprintf("balancer%d-%d", b.server.Index, b.starts), command)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	return Poll(ctx, b.Name, func(ctx context.Context) error {
		if err := b.alive(); err != nil {
			cancel()
			return err
		}
		conn, err := seed.DialContext(ctx, "tcp", b.Address())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (b *ClientBalancer) command() (Command, error) {
	settings, err := b.settings()
	if err != nil {
		return Command{}, err
	}
	text, err := b.kind.Configuration(settings)
	if err != nil {
		return Command{}, err
	}
	if b.Quiet > 0 {
		text = strings.ReplaceAll(text, " 24h\n", fmt.Sprintf(" %dms\n", b.Quiet.Milliseconds()))
	}
	switch b.kind {
	case NginxGRPC:
		text = fmt.Sprintf(nginxProcess, b.dir, "http", fmt.Sprintf(nginxHTTP, b.dir)+text)
	case NginxTCP, NginxTLS:
		text = fmt.Sprintf(nginxProcess, b.dir, "stream", text)
	}
	file := filepath.Join(b.dir, string(b.kind))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return Command{}, err
	}
	if strings.HasPrefix(string(b.kind), "nginx") {
		return Command{Path: "nginx", Args: []string{"-p", b.dir, "-e", "stderr", "-c", file}}, nil
	}
	return Command{Path: "haproxy", Args: []string{"-db", "-f", file}}, nil
}

// settings issues the balancer's certificate, once, and makes the balancer's folder.
func (b *ClientBalancer) settings() (BalancerSettings, error) {
	certs, name := b.server.lab.Certs, fmt.Sprint("balancer", b.server.Index)
	s := BalancerSettings{
		Listen: b.Address(), Server: b.server.Frontend(), ServerName: ServerName, CA: certs.FrontendCA,
		Certificate: filepath.Join(b.dir, "balancer.pem"), ClientCertificate: filepath.Join(b.dir, "client.pem"),
		Key: filepath.Join(b.dir, "balancer.pem"), ClientKey: filepath.Join(b.dir, "client.pem"),
		Protocol: "http/1.1", MaxStreams: b.MaxStreams,
	}
	if b.server.lab.opts.Mode == GRPC {
		s.Protocol = "h2"
	}
	if b.starts > 1 {
		return s, nil
	}
	if err := os.Mkdir(b.dir, 0o755); err != nil {
		return s, err
	}
	cert, key, err := certs.Frontend.Issue(name, []netip.Addr{b.server.Address(IPv4), b.server.Address(IPv6)}, nil)
	if err != nil {
		return s, err
	}
	return s, errors.Join(
		joinFiles(s.Certificate, cert, key),
		joinFiles(s.ClientCertificate, certs.ClientCert, certs.ClientKey),
	)
}

// joinFiles writes several files, one after the other, into one that only root can read.
func joinFiles(to string, from ...string) error {
	var all []byte
	for _, name := range from {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(all, text...)
	}
	return os.WriteFile(to, all, 0o600)
}

// Requests returns, for each connection to nginx, how many requests have ended on it.
// Only [NginxGRPC] counts them.
func (b *ClientBalancer) Requests() (map[string]int, error) {
	text, err := os.ReadFile(filepath.Join(b.dir, "requests"))
	if err != nil {
		return nil, err
	}
	ended := map[string]int{}
	for line := range strings.Lines(string(text)) {
		connection, _, _ := strings.Cut(line, " ")
		ended[connection]++
	}
	return ended, nil
}
