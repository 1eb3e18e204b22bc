// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"net/netip"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Config is what is checked.
type Config struct {
	// Version is that of this program.
	Version string
	// Origin says where the configuration comes from, such as "the flags".
	Origin string
	// NeedsSidecar says that the configuration is that of a running sidecar, or that there
	// is none. Then it is a failure if no sidecar runs.
	NeedsSidecar bool
	// Sidecar is what a running sidecar says. It is never nil.
	Sidecar *Sidecar

	// CIDRs are those of the shoot. They are nil if there is no configuration, and then
	// nothing below is used.
	CIDRs *cidr.Set
	// Services and Nodes are the lists of service and node CIDRs, for Suspects.
	Services, Nodes []netip.Prefix
	// Listen is where redirected connections arrive.
	Listen []netip.AddrPort
	// Servers has at least one element.
	Servers []tunnel.Server
	TLS     tunnel.TLS
	// Exits is the zero value if none is configured.
	Exits tunnel.Exits
	// Names are those of the settings.
	Names     tunnel.SettingNames
	Keepalive time.Duration

	// Targets may be empty.
	Targets []Target
	// Suspects asks for the usual targets of a shoot.
	Suspects bool

	// Probe replaces the probe of the redirect for programs outside of a pod. If it is nil,
	// that is [probe.Check].
	Probe func(context.Context, netip.AddrPort) error

	// Set by tests. If they are nil, the real ones are used.
	resolver resolver
	now      func() time.Time
	// greet and speak replace greetTimeout and speakTimeout.
	greet, speak time.Duration
	// hintsPort replaces the port of a server's metrics.
	hintsPort uint16
}

// resolver is the part of net.Resolver that is used.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// healthPort is upstream's default for the port of a server's health and metrics.
const healthPort = 8092

// Time limits. The longest way through them is less than 20 s: a step that uses up its
// limit has failed, and what depends on it is skipped.
const (
	// limit bounds the whole check.
	limit = 16 * time.Second
	// redirectTimeout bounds a probe of the redirect. A working one takes less than a
	// millisecond.
	redirectTimeout = 2 * time.Second
	nameTimeout     = 5 * time.Second
	connectTimeout  = 3 * time.Second
	tlsTimeout      = 4 * time.Second
	modeTimeout     = 5 * time.Second
	// hintsTimeout bounds the question for a server's metrics.
	hintsTimeout = 1500 * time.Millisecond
	// agentTimeout bounds the wait for an agent, which answers in one round trip.
	agentTimeout = 4 * time.Second
	// exitTimeout bounds a tunnel to an exit.
	exitTimeout = 5 * time.Second
	// dialTimeout is more than the 5 s that an agent gives a target.
	dialTimeout = 6 * time.Second
)

// Bounds of what one check does.
const (
	maxAddresses = 8  // of one server
	maxInside    = 32 // CIDRs whose redirect is probed
	tries        = 10 // of dials and round trips
)

// withDefaults returns the configuration with the real functions.
func (c Config) withDefaults() Config {
	if c.resolver == nil {
		c.resolver = defaultResolver()
	}
	if c.Probe == nil {
		c.Probe = probe.Check
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.greet == 0 {
		c.greet = greetTimeout
	}
	if c.speak == 0 {
		c.speak = speakTimeout
	}
	if c.hintsPort == 0 {
		c.hintsPort = healthPort
	}
	return c
}
