// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Ports of the upstream server and agent: upstream's defaults.
const (
	FrontendPort    = 8090
	agentPort       = 8091
	serverHealth    = 8092
	serverAdmin     = 8095
	agentHealth     = 8093
	startupDeadline = 30 * time.Second
)

// ServerEstablished is the upstream server's gauge of tunnelled connections.
const ServerEstablished = "konnectivity_network_proxy_server_established_connections"

// ServerBackends is the upstream server's gauge of agent connections.
const ServerBackends = "konnectivity_network_proxy_server_ready_backend_connections"

// StartServer starts the upstream server (again, where a test has killed it)
// and waits until it listens. [Lab.WaitTunnel] tells when its agent is there.
func (l *Lab) StartServer(ctx context.Context) error {
	args := []string{
		"--mode=" + string(l.opts.Mode), "--v=0", "--server-id=lab", "--server-count=1",
		fmt.Sprint("--agent-port=", agentPort), fmt.Sprint("--health-port=", serverHealth), fmt.Sprint("--admin-port=", serverAdmin),
		"--cluster-cert=" + l.Certs.ClusterCert, "--cluster-key=" + l.Certs.ClusterKey, "--cluster-ca-cert=" + l.Certs.AgentCA,
	}
	if l.opts.Transport == Unix {
		args = append(args, "--server-port=0", "--uds-name="+l.socket())
	} else {
		args = append(args, fmt.Sprint("--server-port=", FrontendPort), "--server-cert="+l.Certs.ServerCert,
			"--server-key="+l.Certs.ServerKey, "--server-ca-cert="+l.Certs.FrontendCA)
	}
	l.serverStarts++
	server, err := l.Seed.Start(fmt.Sprint("server-", l.serverStarts), Command{Path: l.opts.server(), Args: args})
	if err != nil {
		return err
	}
	l.Server = server
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	if err := l.Seed.waitHealthy(ctx, server, fmt.Sprintf("http://127.0.0.1:%d/healthz", serverHealth)); err != nil {
		return err
	}
	if l.opts.Transport == Unix {
		// The server makes its socket for itself alone. A deployment shares it by
		// group; the lab opens it for everybody.
		return os.Chmod(l.socket(), 0o666)
	}
	return nil
}

// StartAgent starts the upstream agent in the shoot (again, where a test has
// killed it). [Lab.WaitTunnel] tells when it has found its server.
func (l *Lab) StartAgent() (err error) {
	seed := netip.MustParsePrefix(seedShootIPv4).Addr()
	l.agentStarts++
	l.Agent, err = l.Shoot.Start(fmt.Sprint("agent-", l.agentStarts), Command{Path: l.opts.agent(), Args: []string{
		"--v=0", "--agent-id=lab", "--proxy-server-host=" + seed.String(), fmt.Sprint("--proxy-server-port=", agentPort),
		"--ca-cert=" + l.Certs.AgentCA, "--agent-cert=" + l.Certs.AgentCert, "--agent-key=" + l.Certs.AgentKey,
		"--sync-interval=200ms", "--probe-interval=200ms", "--sync-interval-cap=1s",
		fmt.Sprint("--health-server-port=", agentHealth),
	}})
	return err
}

// WaitTunnel waits until server and agent have found each other: both are ready.
func (l *Lab) WaitTunnel(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	if err := l.Seed.waitHealthy(ctx, l.Server, fmt.Sprintf("http://127.0.0.1:%d/readyz", serverHealth)); err != nil {
		return err
	}
	return l.Shoot.waitHealthy(ctx, l.Agent, fmt.Sprintf("http://127.0.0.1:%d/readyz", agentHealth))
}

// Frontend is the server's frontend as --proxy-server wants it.
func (l *Lab) Frontend() string {
	if l.opts.Transport == Unix {
		return "unix://" + l.socket()
	}
	f := IPv4
	if !l.opts.PodFamilies.Has(IPv4) {
		f = IPv6
	}
	return net.JoinHostPort(SeedAddress(f).String(), fmt.Sprint(FrontendPort))
}

func (l *Lab) socket() string { return filepath.Join(l.Dir, "frontend.sock") }

// ServerMetrics reads the upstream server's metrics.
func (l *Lab) ServerMetrics(ctx context.Context) (Metrics, error) {
	return l.Seed.metrics(ctx, fmt.Sprintf("http://127.0.0.1:%d/metrics", serverAdmin))
}
