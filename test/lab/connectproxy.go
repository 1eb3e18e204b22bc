// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"text/template"

	"github.com/vishvananda/netlink"
)

const (
	// ConnectProxyPort is the port of a [ConnectProxy]: that of Gardener's Envoy.
	ConnectProxyPort = 9443
	// ForbiddenPort is a port of the shoot to which no [ConnectProxy] connects. Nothing
	// listens there.
	ForbiddenPort = 7099
	// localRoutes is the routing table of the packets that the seed itself sends.
	localRoutes = 100
)

// ConnectProxyKind is a kind of standard CONNECT proxy. Its value is the name of its
// configuration file in proxies/.
type ConnectProxyKind string

// The kinds. All want a client certificate of the frontend's CA. SquidNoResume is a squid
// that refuses to resume TLS sessions, although it hands them out (it has clientca= without
// sslcontext=). NodeHTTP2 is a script for Node.js, and the only one that speaks HTTP/2.
const (
	Squid         ConnectProxyKind = "squid.conf"
	SquidNoResume ConnectProxyKind = "squid.conf without sslcontext"
	Apache        ConnectProxyKind = "apache.conf"
	NodeHTTP2     ConnectProxyKind = "node.js"
)

//go:embed proxies
var proxyFiles embed.FS

// ConnectProxy is Debian's squid, Apache or Node.js in the seed, which reaches the shoot by itself.
// It is no proxy-server of konnectivity.
type ConnectProxy struct {
	// Process is the proxy's latest process. After a Kill, Start makes another.
	*Process

	kind   ConnectProxyKind
	lab    *Lab
	dir    string
	starts int
}

// NewConnectProxy returns a standard proxy in the seed, not yet started. The seed gets
// routes to the shoot, for its own processes only.
func (l *Lab) NewConnectProxy(kind ConnectProxyKind) (*ConnectProxy, error) {
	if err := l.RouteSeedToShoot(); err != nil {
		return nil, err
	}
	p := &ConnectProxy{kind: kind, lab: l, dir: filepath.Join(l.Dir, "proxy")}
	return p, os.Mkdir(p.dir, 0o755)
}

// RouteSeedToShoot gives the seed routes to the shoot, for its own processes only. It does
// not forward what others send.
func (l *Lab) RouteSeedToShoot() error {
	return l.Seed.Do(func() error {
		for _, f := range DualStack.Each() {
			rule := netlink.NewRule()
			rule.Family, rule.IifName, rule.Table = family(f), "lo", localRoutes
			if err := netlink.RuleAdd(rule); err != nil {
				return fmt.Errorf("add a rule for what the seed sends: %w", err)
			}
			gateway, _, err := net.ParseCIDR(pick(f, shootIPv4, shootIPv6))
			if err != nil {
				return err
			}
			for _, cidr := range []string{PodCIDR(f), ServiceCIDR(f), NodeCIDR(f)} {
				_, to, err := net.ParseCIDR(cidr)
				if err != nil {
					return err
				}
				if err := netlink.RouteAdd(&netlink.Route{Dst: to, Gw: gateway, Table: localRoutes}); err != nil {
					return fmt.Errorf("add the seed's route to %s: %w", cidr, err)
				}
			}
		}
		return nil
	})
}

// ConnectProxyAddress returns the address of the seed's standard proxy, as --proxy-server
// takes it.
func (l *Lab) ConnectProxyAddress() string {
	return net.JoinHostPort(SeedAddress(l.podFamily()).String(), strconv.Itoa(ConnectProxyPort))
}

// Start starts the proxy, also again after it has ended, and waits until it listens.
func (p *ConnectProxy) Start(ctx context.Context) error {
	p.starts++
	command, err := p.command()
	if err != nil {
		return err
	}
	p.Process, err = p.lab.Seed.Start(fmt.Sprint("proxy-", p.starts), command)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	return Poll(ctx, p.Name, func(ctx context.Context) error {
		if err := p.alive(); err != nil {
			cancel()
			return err
		}
		conn, err := p.lab.Seed.DialContext(ctx, "tcp", p.lab.ConnectProxyAddress())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (p *ConnectProxy) command() (Command, error) {
	name := string(p.kind)
	if p.kind == SquidNoResume {
		name = string(Squid)
	}
	parsed, err := template.New(name).Option("missingkey=error").ParseFS(proxyFiles, "proxies/"+name)
	if err != nil {
		return Command{}, err
	}
	var text bytes.Buffer
	err = parsed.Execute(&text, map[string]any{
		"Listen": p.lab.ConnectProxyAddress(), "Folder": p.dir, "CA": p.lab.Certs.FrontendCA,
		"Certificate": p.lab.Certs.ServerCert, "Key": p.lab.Certs.ServerKey, "Resume": p.kind == Squid,
		"Forbidden": ForbiddenPort, "BelowForbidden": ForbiddenPort - 1, "AboveForbidden": ForbiddenPort + 1,
	})
	if err != nil {
		return Command{}, err
	}
	file := filepath.Join(p.dir, name)
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		return Command{}, err
	}
	switch p.kind {
	case Apache:
		return Command{Path: "apache2", Args: []string{"-DFOREGROUND", "-f", file}}, nil
	case NodeHTTP2:
		return Command{Path: "node", Args: []string{file}}, nil
	default:
		return Command{Path: "squid", Args: []string{"-N", "-d", "1", "-f", file}}, nil
	}
}

// family returns f as netlink calls it.
func family(f Families) int {
	if f == IPv6 {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}
