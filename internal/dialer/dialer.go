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
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/connectmode"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// silence is how long one server may leave a dial without an answer before
	// another is tried. The agent gives a target 5 s, so whoever is silent for
	// longer has most likely lost its agent under the dial.
	silence = 5500 * time.Millisecond
	// retryPause is the wait before all servers are asked again, where none
	// could dial but one may be able to soon: servers restart, agents come back.
	// It doubles up to maxRetryPause.
	retryPause    = 250 * time.Millisecond
	maxRetryPause = time.Second
)

// Config is what a Dialer needs. All fields but Quota are required, and TLS only for
// a server on TCP.
type Config struct {
	Servers     []tunnel.Server
	TLS         tunnel.TLS
	Names       tunnel.SettingNames // for errors
	CIDRs       *cidr.Set           // a proxy-server inside the shoot is refused
	DialTimeout time.Duration       // the whole budget of one dial, retries included
	Keepalive   time.Duration       // how long a connection to a server is idle until TCP asks for an answer, whole seconds
	Logger      *slog.Logger
	Metrics     *Metrics
	// Quota is of what is held for all connections; nil is one without a bound.
	Quota *quota.Quota

	// For tests; New has the real ones.
	resolver resolver
	connect  func(context.Context, *endpoint) (net.Conn, string, *tunnel.Error)
	random   func() float64 // in [0, 1)
}

// Dialer dials through one or more proxy-servers. See the package comment.
type Dialer struct {
	servers   []*server
	certs     *tlsfiles.Files
	names     tunnel.SettingNames
	cidrs     *cidr.Set
	timeout   time.Duration
	connector *serverconn.Connector
	log       *slog.Logger
	metrics   *Metrics
	resolver  resolver
	connect   func(context.Context, *endpoint) (net.Conn, string, *tunnel.Error) // connectTo
	random    func() float64

	files       int64 // that the process may have open
	grpc        grpcmode.Shared
	httpConnect connectmode.Shared

	found     chan struct{} // closed when an address of any server is known
	foundOnce sync.Once

	picking sync.Mutex // guards the pick of an endpoint and its load: one dial picks after the other

	life       context.Context // of what is not any one dial's
	die        context.CancelFunc
	background sync.WaitGroup // that, and drains of closed and abandoned connections
}

// New returns a Dialer. It connects to nothing yet.
func New(cfg Config) (*Dialer, error) {
	if len(cfg.Servers) == 0 {
		return nil, errors.New("tunnel: no proxy-server")
	}
	d := &Dialer{
		certs: tlsfiles.New(cfg.TLS, cfg.Names, cfg.Logger, cfg.Metrics.certificateExpires), names: cfg.Names, cidrs: cfg.CIDRs, timeout: cfg.DialTimeout,
		log: cfg.Logger, metrics: cfg.Metrics, resolver: cfg.resolver, connect: cfg.connect, random: cfg.random,
	}
	d.connector = serverconn.NewConnector(d.certs, cfg.Names, cfg.Keepalive)
	d.files, d.found = openFiles(), make(chan struct{})
	if d.resolver == nil {
		d.resolver = net.DefaultResolver
	}
	held := cfg.Quota
	if held == nil {
		held = quota.New(math.MaxInt)
	}
	if d.connect == nil {
		d.connect = connectTo
	}
	if d.random == nil {
		d.random = rand.Float64
	}
	d.life, d.die = context.WithCancel(context.Background())
	d.grpc = grpcmode.Shared{Metrics: d.metrics.grpc, Quota: held, Background: &d.background, Files: d.certs.Version, AffordsFile: d.affordsFile}
	d.httpConnect = connectmode.Shared{Background: &d.background, Life: d.life, Files: d.certs.Version, MostSpares: connectmode.AffordableSpares()}
	for _, s := range cfg.Servers {
		d.servers = append(d.servers, newServer(s, d))
	}
	return d, nil
}

// Run connects to all servers and watches whether they can be reached, and the
// expiry of the certificates, until ctx ends. Dials work without it; Reachable does not.
//
// It ends with an *InsideShootError where the first lookup of a server's name finds an
// address inside the shoot: a connection to it could only go through itself.
func (d *Dialer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.certs.Watch(ctx) })
	for _, s := range d.servers {
		g.Go(func() error { return s.watch(ctx) })
		g.Go(func() error { return s.refusal(ctx) })
	}
	return g.Wait()
}

// Reachable reports whether at least one server could be reached when Run last
// looked. It says nothing about agents.
func (d *Dialer) Reachable() bool {
	return slices.ContainsFunc(d.servers, (*server).isUp)
}

// Unreachable returns nil where Reachable is true, and otherwise an error that names
// the servers and why they could not be reached, in one clause.
func (d *Dialer) Unreachable() error {
	if d.Reachable() {
		return nil
	}
	const most = 3 // servers, for the sake of who reads it
	var causes []string
	for _, s := range d.servers[:min(most, len(d.servers))] {
		causes = append(causes, s.notUp())
	}
	if more := len(d.servers) - most; more > 0 {
		causes = append(causes, fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("no proxy-server reachable (%s)", strings.Join(causes, "; "))
}

// OwnsAddress reports whether a is the address of a configured server, as last
// resolved.
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

// several reports whether there is a choice of endpoints.
func (d *Dialer) several() bool {
	n := 0
	for _, s := range d.servers {
		n += len(s.known())
	}
	return n > 1
}

// Close ends the connections to the servers. Call it when all Conns are closed
// and Run has returned: it waits until what Close left to the background has
// been said.
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

// DialContext implements tunnel.Dialer. It connects to dst through one of the servers.
//
// One budget, Config.DialTimeout or ctx's own deadline where that is earlier,
// covers everything. An agent's answer about the target is final. Another
// server is asked only where the first could not be reached, had no agent or
// stayed silent; where none has an agent they are asked again until the budget
// ends, for agents come back.
func (d *Dialer) DialContext(ctx context.Context, dst netip.AddrPort, hold tunnel.Hold) (tunnel.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	var last *tunnel.Error
	for pause := retryPause; ; pause = min(2*pause, maxRetryPause) {
		conn, err, again := d.dialAny(ctx, dst, hold)
		if err == nil {
			return conn, nil
		}
		if !again {
			return nil, err
		}
		// What the end of the budget interrupted says less than what had failed
		// before, where anything had.
		if last == nil || !serverconn.Interrupted(ctx) {
			last = err
		}
		sleep(ctx, jittered(pause, d.random()))
		if ctx.Err() != nil {
			return nil, d.gaveUp(ctx, last)
		}
	}
}

// dialAny asks each endpoint once, the most promising first. Where none could
// dial, again says whether one may be able to soon: not where somebody has to mend
// something first.
func (d *Dialer) dialAny(ctx context.Context, dst netip.AddrPort, hold tunnel.Hold) (_ tunnel.Conn, last *tunnel.Error, again bool) {
	if err := d.find(ctx); err != nil {
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
		conn, err := e.try(ctx, dst, claim, hold)
		if err == nil {
			return conn, nil, false
		}
		again = again || (err.Fault.Elsewhere() && !err.Fault.Lasting())
		if last == nil || !serverconn.Interrupted(ctx) {
			last = err
		}
		if !err.Fault.Elsewhere() {
			return nil, err, false // also where the app gave up, whatever had failed before
		}
		if serverconn.Interrupted(ctx) {
			return nil, last, again
		}
	}
}

// find sees to it that there is an endpoint to dial through. Where there is, it
// does not wait for servers whose addresses are not known yet.
func (d *Dialer) find(ctx context.Context) *tunnel.Error {
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
		if last = s.await(ctx); last == nil || serverconn.Interrupted(ctx) {
			break
		}
	}
	return last
}

// gaveUp says why a dial ended whose context ended: the app's own decision, or
// the budget, in which case the last thing that went wrong is the reason.
func (d *Dialer) gaveUp(ctx context.Context, last *tunnel.Error) *tunnel.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &tunnel.Error{Reason: tunnel.ReasonCancelled, Server: last.Server, Err: context.Canceled}
	}
	if last.Reason == tunnel.ReasonTimeout {
		return &tunnel.Error{Reason: tunnel.ReasonTimeout, Server: last.Server, Err: fmt.Errorf("no answer within the dial budget: %w", last.Err)}
	}
	return &tunnel.Error{Reason: last.Reason, Server: last.Server, Err: fmt.Errorf("%w (tried until the dial budget ended)", last.Err)}
}
