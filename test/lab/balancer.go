// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// balancerStats is the port where haproxy reports how it sees the servers.
const balancerStats = 8404

// startBalancer starts Debian's haproxy in front of the servers' ports for agents and for
// clients. It is in TCP mode: TLS stays end to end. It checks the servers' health on
// their own port. No server therefore sees connections without a byte.
func (l *Lab) startBalancer(ctx context.Context) error {
	config := filepath.Join(l.Dir, "haproxy.cfg")
	if err := os.WriteFile(config, []byte(l.balancerConfig()), 0o644); err != nil {
		return err
	}
	process, err := l.Seed.Start("haproxy", Command{Path: "haproxy", Args: []string{"-db", "-f", config}})
	if err != nil {
		return err
	}
	l.Balancer = process
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	return l.Seed.waitHealthy(ctx, process, fmt.Sprintf("http://127.0.0.1:%d/", balancerStats))
}

func (l *Lab) balancerConfig() string {
	var b strings.Builder
	b.WriteString(`global
  nbthread 1
  maxconn 8192
defaults
  mode tcp
  timeout connect 1s
  timeout check 1s
  timeout client 24h
  timeout server 24h
  timeout tunnel 24h
  retries 3
  option redispatch 1
  option httpchk GET /healthz
  default-server check inter 250ms fall 2 rise 1 port ` + strconv.Itoa(serverHealth) + "\n")
	fmt.Fprintf(&b, "frontend stats\n  mode http\n  bind 127.0.0.1:%d\n  stats enable\n  stats uri /\n", balancerStats)
	// The balancer chooses at random. With round robin, two agents that connect in turn
	// would each get the same server for ever.
	fmt.Fprintf(&b, "listen agents\n  balance random\n  bind %s:%d\n", l.agentEntry().Addr(), agentPort)
	l.balancerServers(&b, agentPort)
	if l.opts.Transport == TCP {
		fmt.Fprintf(&b, "listen clients\n  balance leastconn\n  bind %s\n", l.BalancedFrontend())
		l.balancerServers(&b, FrontendPort)
	}
	return b.String()
}

func (l *Lab) balancerServers(b *strings.Builder, port int) {
	for _, s := range l.Servers {
		fmt.Fprintf(b, "  server s%d %s\n", s.Index, net.JoinHostPort(s.own().String(), strconv.Itoa(port)))
	}
}

// BalancedFrontend returns the address of the balancer in front of all servers, if there
// are several. It is another value for --proxy-server than [Lab.Frontend].
func (l *Lab) BalancedFrontend() string {
	return net.JoinHostPort(SeedAddress(l.podFamily()).String(), strconv.Itoa(FrontendPort))
}
