// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// DestHost is a flag of the server. With it the server sends a dial only to an agent that
// has registered the dialled host.
const DestHost = "--proxy-strategies=destHost"

// Server is one upstream server of the seed.
type Server struct {
	// Process is the server's latest process. After a Kill, Start makes another.
	*Process
	// Index is the server's index in Lab.Servers.
	Index int
	// Agentless, set before Start, hides the server from all agents.
	Agentless bool
	// Flags are further flags, from the next Start on. At first they are
	// Options.ServerFlags.
	Flags []string

	lab    *Lab
	starts int
}

// Start starts the server, also again after it has ended, and waits until it listens.
func (s *Server) Start(ctx context.Context) error {
	s.starts++
	process, err := s.lab.Seed.Start(s.name(), Command{Path: s.lab.opts.server(), Args: s.args()})
	if err != nil {
		return err
	}
	s.Process = process
	if s.Index == 0 {
		s.lab.Server = process
	}
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	if err := s.lab.Seed.waitHealthy(ctx, process, s.url(serverHealth, "/healthz")); err != nil {
		return err
	}
	if s.lab.opts.Transport == Unix {
		// The server makes its socket for its own user alone. A deployment shares it by
		// group. The lab opens it for all users.
		return os.Chmod(s.socket(), 0o666)
	}
	return nil
}

// Restart kills the server and starts it again.
func (s *Server) Restart(ctx context.Context) error {
	s.Kill()
	return s.Start(ctx)
}

// name returns a new name for each start, as upstream's default server id is. The first
// server's is short: most labs have no other.
func (s *Server) name() string {
	if s.Index == 0 {
		return fmt.Sprint("server-", s.starts)
	}
	return fmt.Sprintf("server%d-%d", s.Index, s.starts)
}

func (s *Server) args() []string {
	l := s.lab
	args := []string{
		"--mode=" + string(l.opts.Mode), "--v=0", "--server-id=" + s.name(), fmt.Sprint("--server-count=", l.opts.Servers),
		fmt.Sprint("--health-port=", serverHealth), fmt.Sprint("--admin-port=", serverAdmin),
		"--cluster-cert=" + l.Certs.ClusterCert, "--cluster-key=" + l.Certs.ClusterKey, "--cluster-ca-cert=" + l.Certs.AgentCA,
	}
	port := agentPort
	if s.Agentless {
		port += 1000 // an address to which no route leads
	}
	args = append(args, fmt.Sprint("--agent-port=", port))
	if l.opts.Servers > 1 {
		for _, what := range []string{"server", "agent", "health", "admin"} {
			args = append(args, fmt.Sprintf("--%s-bind-address=%s", what, s.own()))
		}
	}
	args = append(args, s.Flags...)
	if l.opts.Transport == Unix {
		return append(args, "--server-port=0", "--uds-name="+s.socket())
	}
	return append(args, fmt.Sprint("--server-port=", FrontendPort), "--server-cert="+l.Certs.ServerCert,
		"--server-key="+l.Certs.ServerKey, "--server-ca-cert="+l.Certs.FrontendCA)
}

// findsByIdentifier reports whether the server chooses its agents only by what they have
// registered. Its gauge then counts identifiers, and not agents.
func (s *Server) findsByIdentifier() bool {
	return slices.Contains(s.Flags, DestHost)
}

// Address returns the server's address as the pod sees it.
func (s *Server) Address(f Families) netip.Addr {
	if s.lab.opts.Servers == 1 {
		return SeedAddress(f)
	}
	return ServerAddress(f, s.Index)
}

// own returns the address on which the server listens if the seed has several.
func (s *Server) own() netip.Addr { return ServerAddress(s.lab.podFamily(), s.Index) }

// Frontend returns the value for --proxy-server of this server's frontend.
func (s *Server) Frontend() string {
	if s.lab.opts.Transport == Unix {
		return "unix://" + s.socket()
	}
	return net.JoinHostPort(s.Address(s.lab.podFamily()).String(), strconv.Itoa(FrontendPort))
}

func (s *Server) socket() string {
	if s.Index == 0 {
		return filepath.Join(s.lab.Dir, "frontend.sock")
	}
	return filepath.Join(s.lab.Dir, fmt.Sprintf("frontend%d.sock", s.Index))
}

// url returns the URL of a path on one of the server's own HTTP ports, inside the seed.
func (s *Server) url(port int, path string) string {
	host := "127.0.0.1"
	if s.lab.opts.Servers > 1 {
		host = s.own().String()
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port)) + path
}

// Metrics reads the server's metrics.
func (s *Server) Metrics(ctx context.Context) (Metrics, error) {
	return s.lab.Seed.metrics(ctx, s.url(serverAdmin, "/metrics"))
}
