// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/h2proxy"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/spare"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// answerTimeout is how long one server may leave a dial without an answer until
	// another server is tried. The agent gives a target 5 s. A server that is silent
	// for longer has most likely lost its agent during the dial.
	answerTimeout = 5500 * time.Millisecond
	// retryPause is the pause before all servers are asked again. That is done if none
	// could dial and one may be able to soon: a server may restart, an agent may come
	// back. It doubles up to maxRetryPause.
	retryPause    = 250 * time.Millisecond
	maxRetryPause = time.Second
)

// Config is what a Dialer needs. All fields but Quota are required. TLS is required
// only for a server on TCP.
type Config struct {
	Servers     []tunnel.Server
	TLS         tunnel.TLS
	Names       tunnel.SettingNames // for errors
	CIDRs       *cidr.Set           // a proxy-server inside the shoot is refused
	DialTimeout time.Duration       // the whole budget of one dial, retries included
	Keepalive   time.Duration       // how long a connection to a server is idle until TCP keepalive asks for an answer, in whole seconds
	Logger      *slog.Logger
	Metrics     *Metrics
	// Quota bounds the memory that is held for all connections. Nil means no bound.
	Quota *quota.Quota

	// Set by tests. If they are nil, New sets the real ones.
	resolver resolver
	connect  func(_ context.Context, _ *endpoint, alpn []string) (net.Conn, string, *tunnel.Error)
	random   func() float64 // in [0, 1)
}

// Dialer dials through one or more proxy-servers. See the package comment.
type Dialer struct {
	shared
	servers []*server
	files   int64      // that the process may have open
	picking sync.Mutex // guards the choice of an endpoint and the count of the dial: one dial picks at a time
}

// New returns a Dialer. It connects to nothing yet.
func New(cfg Config) (*Dialer, error) {
	if len(cfg.Servers) == 0 {
		return nil, errors.New("tunnel: no proxy-server")
	}
	d := &Dialer{files: openFiles(), shared: shared{
		certs: tlsfiles.New(cfg.TLS, cfg.Names, cfg.Logger, cfg.Metrics.certificateInUse), names: cfg.Names, cidrs: cfg.CIDRs,
		timeout: cfg.DialTimeout, log: cfg.Logger, metrics: cfg.Metrics,
		resolver: cfg.resolver, connect: cfg.connect, random: cfg.random, addressKnown: make(chan struct{}),
	}}
	d.several = d.hasSeveral
	d.connector = serverconn.NewConnector(d.certs, cfg.Names, cfg.Keepalive)
	if d.resolver == nil {
		d.resolver = net.DefaultResolver
	}
	if d.connect == nil {
		d.connect = connectTo
	}
	if d.random == nil {
		d.random = rand.Float64
	}
	held := cfg.Quota
	if held == nil {
		held = quota.New(math.MaxInt)
	}
	d.life, d.die = context.WithCancel(context.Background())
	d.grpc = grpcmode.Shared{Metrics: d.metrics.grpc, Quota: held, Background: &d.background, Files: d.certs.Version, AffordsFile: d.affordsFile}
	d.spares = spare.Shared{Background: &d.background, Life: d.life, Files: d.certs.Version, Most: spare.Affordable()}
	d.h2 = h2proxy.Shared{Quota: held, Background: &d.background, Files: d.certs.Version, AffordsFile: d.affordsFile}
	for _, s := range cfg.Servers {
		d.servers = append(d.servers, newServer(s, &d.shared))
	}
	return d, nil
}

// Run connects to all servers, and watches whether they can be reached and when the
// certificates expire. It returns when ctx ends. Dials work without it, but Reachable
// does not.
//
// Run ends with an *InsideShootError if the first lookup of a server's name finds an
// address inside the shoot. A connection to that address could only go through itself.
func (d *Dialer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.certs.Watch(ctx) })
	for _, s := range d.servers {
		g.Go(func() error { return s.watch(ctx) })
		g.Go(func() error { return s.insideShoot(ctx) })
	}
	return g.Wait()
}

// Reachable reports whether Run could reach at least one server when it last checked.
// It says nothing about agents.
func (d *Dialer) Reachable() bool {
	return slices.ContainsFunc(d.servers, (*server).isUp)
}

// Unreachable returns nil if Reachable is true. Otherwise it returns an error that
// names the servers and why they could not be reached, in one clause.
func (d *Dialer) Unreachable() error {
	if d.Reachable() {
		return nil
	}
	const most = 3 // servers; a longer list would be hard to read
	var causes []string
	for _, s := range d.servers[:min(most, len(d.servers))] {
		causes = append(causes, s.whyDown())
	}
	if more := len(d.servers) - most; more > 0 {
		causes = append(causes, fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("no proxy-server reachable (%s)", strings.Join(causes, "; "))
}

// OwnsAddress reports whether a is the address of a configured server, by the last
// lookup.
func (d *Dialer) OwnsAddress(a netip.AddrPort) bool {
	for _, s := range d.servers {
		for _, e := range s.known() {
			if e.Addr == a {
				return true
			}
		}
	}
	return false
}

// hasSeveral reports whether there is a choice of endpoints.
func (d *Dialer) hasSeveral() bool {
	n := 0
	for _, s := range d.servers {
		n += len(s.known())
	}
	return n > 1
}

// Close ends the connections to the servers. Call it when all Conns are closed and Run
// has returned. It waits until work in the background is done, which includes the Close
// of each Conn.
func (d *Dialer) Close() error {
	d.die()
	for _, s := range d.servers {
		for _, e := range s.known() {
			e.close()
		}
	}
	d.background.Wait()
	d.connector.Close()
	return nil
}

// DialContext implements tunnel.Dialer. It dials dst through one of the servers.
//
// One budget covers everything: Config.DialTimeout, or the deadline of ctx if that is
// earlier. An agent's answer about the target is final. Another server is asked only if
// the first could not be reached, had no agent or stayed silent. If no server has an
// agent, all are asked again until the budget ends, because agents come back.
func (d *Dialer) DialContext(ctx context.Context, dst netip.AddrPort, hold tunnel.Hold) (tunnel.Conn, error) {
	return d.DialTarget(ctx, dst, hold)
}

// DialTarget is DialContext for a target that may be a name. The agent resolves it, and the
// server may choose the agent by it (upstream's --proxy-strategies=destHost).
func (d *Dialer) DialTarget(ctx context.Context, dst tunnel.Target, hold tunnel.Hold) (tunnel.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	var last *tunnel.Error
	for wait := retryPause; ; wait = min(2*wait, maxRetryPause) {
		conn, err, again := d.dialOnce(ctx, dst, hold)
		if err == nil {
			return conn, nil
		}
		if !again {
			return nil, err
		}
		// An error that the end of the budget has caused says less than an error before
		// it.
		if last == nil || !serverconn.Interrupted(ctx) {
			last = err
		}
		pause.For(ctx, jittered(wait, d.random()))
		if ctx.Err() != nil {
			return nil, d.contextError(ctx, last)
		}
	}
}

// dialOnce asks each endpoint once, the best first. If none could dial, again reports
// whether one may be able to soon. It is false if a person has to change something
// first.
func (d *Dialer) dialOnce(ctx context.Context, dst tunnel.Target, hold tunnel.Hold) (_ tunnel.Conn, last *tunnel.Error, again bool) {
	if err := d.awaitEndpoint(ctx); err != nil {
		return nil, err, err.Fault.Elsewhere()
	}
	var tried []*endpoint
	for {
		e, claim := d.pick(tried)
		if e == nil {
			return nil, last, again
		}
		if len(tried) > 0 {
			d.metrics.failovers.Inc()
			d.log.Debug("trying another proxy-server", "server", e.server.Name, "address", e.Address(), "destination", dst, "error", last)
		}
		tried = append(tried, e)
		conn, err := e.dial(ctx, dst, claim, hold)
		if err == nil {
			return conn, nil, false
		}
		again = again || (err.Fault.Elsewhere() && !err.Fault.Lasting())
		if last == nil || !serverconn.Interrupted(ctx) {
			last = err
		}
		if !err.Fault.Elsewhere() {
			return nil, err, false // final, even if another server had failed before
		}
		if serverconn.Interrupted(ctx) {
			return nil, last, again
		}
	}
}

// awaitEndpoint returns when there is an endpoint to dial through. If there is one, it
// does not wait for servers whose addresses are not known yet.
func (d *Dialer) awaitEndpoint(ctx context.Context) *tunnel.Error {
	var missing []*server
	for _, s := range d.servers {
		if len(s.known()) == 0 {
			missing = append(missing, s)
			s.lookups.begin()
		}
	}
	if len(missing) < len(d.servers) {
		return nil
	}
	var last *tunnel.Error
	for _, s := range missing {
		if last = s.awaitAddress(ctx); last == nil || serverconn.Interrupted(ctx) {
			break
		}
	}
	return last
}

// contextError returns the error of a dial whose context has ended. If the budget has
// ended, the reason is that of last, the error before. Otherwise the app has given up.
func (d *Dialer) contextError(ctx context.Context, last *tunnel.Error) *tunnel.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &tunnel.Error{Reason: tunnel.ReasonCancelled, Server: last.Server, IDs: last.IDs, Err: context.Canceled}
	}
	is := *last
	is.Err = fmt.Errorf("%w (tried until the dial timeout ended)", last.Err)
	if last.Reason == tunnel.ReasonTimeout {
		is.Err = fmt.Errorf("no answer within the dial timeout: %w", last.Err)
	}
	return &is
}
