// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/inbox"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// connectionWindow is how many bytes may be in flight on all streams. It is returned
	// when bytes arrive, so no stream waits for bytes that another has not received.
	connectionWindow = 16 << 20
	// maxHeaders bounds the headers of an answer, in bytes as RFC 9113, section 6.5.2,
	// counts them.
	maxHeaders = 16 << 10
	// maxTarget is how long a target may be: a DNS name and a port.
	maxTarget = 255 + len(":65535")
)

// The times of the PINGs, if Config has none. Together they are less than 10 s. A path that
// was cut for a few seconds needs up to twice as long until TCP sends again, and should not
// count as a dead peer.
const (
	defaultPingInterval = 1500 * time.Millisecond
	defaultPingTimeout  = 6 * time.Second
)

// Errors of Dial, as package http2wire describes them.
var (
	ErrClosed      = http2wire.ErrClosed
	ErrFull        = http2wire.ErrFull
	ErrUsedUp      = http2wire.ErrUsedUp
	ErrUnprocessed = http2wire.ErrUnprocessed
	ErrHTTP1       = http2wire.ErrHTTP1
)

// ErrSilent is wrapped by the error of a connection whose peer has not answered a PING.
var ErrSilent = errors.New("the proxy is silent")

// Config configures a Conn. Every field may be zero.
type Config struct {
	UserAgent string
	Server    string // what Stream.Server returns

	// Quota counts what the streams hold, and by how much their windows have grown. While
	// it is scarce, windows are narrow. Nil means no bound but the windows.
	Quota *quota.Quota

	// PingInterval is the time between two PINGs. PingTimeout is how long the peer may be
	// silent, whatever PINGs are sent meanwhile. A dead peer is noticed after both
	// together, at the latest.
	PingInterval, PingTimeout time.Duration

	// Draining is called once, when the connection takes no more streams or soon will
	// not. It must not wait.
	Draining func()
	// LimitRaised is called when the proxy raises its limit of concurrent streams. It must
	// not wait.
	LimitRaised func()
}

// Conn is one HTTP/2 connection to a proxy. All its methods may be called concurrently.
type Conn struct {
	wire    *http2wire.Conn
	cfg     Config
	account *quota.Account // of all streams; nil without a quota
	pool    inbox.Pool
	heart   heart
	began   time.Time // for the measurement of windows

	changing sync.Mutex   // held while base is changed, and the proxy told
	base     atomic.Int64 // the window of a stream that has not grown

	refusals refusals
}

// New returns a client that speaks HTTP/2 on conn. On conn only the TLS handshake may have
// taken place. socket is the connection below TLS, or conn itself without TLS. If it is
// nil, each TLS record is a write of its own: http2wire.GatherOn makes a Socket of any
// net.Conn.
func New(conn net.Conn, socket *http2wire.Socket, cfg Config) *Conn {
	if cfg.PingInterval == 0 {
		cfg.PingInterval = defaultPingInterval
	}
	if cfg.PingTimeout == 0 {
		cfg.PingTimeout = defaultPingTimeout
	}
	c := &Conn{cfg: cfg, began: time.Now()}
	if cfg.Quota != nil {
		c.account = cfg.Quota.Open(nil)
	}
	c.wire = http2wire.New(conn, socket, http2wire.Config{
		StreamWindow: initialWindow, ConnectionWindow: connectionWindow, MaxHeaders: maxHeaders,
		Draining: cfg.Draining, LimitRaised: cfg.LimitRaised,
	})
	c.heart.conn = c
	c.base.Store(initialWindow)
	return c
}

// Run reads until the connection ends. It returns when all goroutines and streams of the
// connection have ended. It must be called once.
func (c *Conn) Run() {
	c.heart.start()
	c.wire.Run()
	c.heart.stop()
}

// Ready waits until the proxy has sent its settings. If ctx ends first, Ready closes the
// connection.
func (c *Conn) Ready(ctx context.Context) error { return c.wire.Ready(ctx) }

// Err returns why the connection has ended, or nil.
func (c *Conn) Err() error { return c.wire.Err() }

// Streams returns how many streams are open.
func (c *Conn) Streams() int { return c.wire.Streams() }

// Limit returns how many concurrent streams the proxy allows.
func (c *Conn) Limit() int { return c.wire.Limit() }

// Close ends the connection and all its streams. It does not wait for Run, which returns
// soon after.
func (c *Conn) Close() error { return c.wire.Close() }

// Dial asks the proxy for a connection to target, which is host:port. The host may be a
// name, which the proxy resolves.
//
// A *Refusal is the proxy's answer, and a *Reset its reset in place of one. An error that
// wraps ErrUnprocessed or ErrFull says that the proxy has not seen the dial, or has not dealt
// with it: another connection may serve it. If ctx ends first, the error is its cause.
func (c *Conn) Dial(ctx context.Context, target string) (*Stream, error) {
	return c.DialEarly(ctx, target, nil)
}

// DialEarly is Dial with what the app sends meanwhile, which goes behind the request. early
// may be nil. It is ended when DialEarly returns. If an error proves that the proxy has not
// passed the bytes on, they are taken back.
func (c *Conn) DialEarly(ctx context.Context, target string, early tunnel.Early) (*Stream, error) {
	s, err := c.dial(ctx, target, early)
	if err != nil && early != nil && neverPassedOn(err) {
		early.TakeBack()
	}
	return s, err
}

// neverPassedOn reports whether the error of a dial proves that no target got a byte.
func neverPassedOn(err error) bool {
	return errors.As(err, new(*Refusal)) || errors.Is(err, ErrUnprocessed)
}

func (c *Conn) dial(ctx context.Context, target string, early tunnel.Early) (*Stream, error) {
	if target == "" || len(target) > maxTarget || !httpguts.ValidHostHeader(target) {
		return nil, fmt.Errorf("%.100q is no host:port", target)
	}
	s := &Stream{conn: c, answered: make(chan error, 1), window: initialWindow}
	s.changed.L = &s.mu
	s.inbox.Account = c.account
	fields := [...]hpack.HeaderField{{Name: ":method", Value: "CONNECT"}, {Name: ":authority", Value: target}, {Name: "user-agent", Value: c.cfg.UserAgent}}
	n := len(fields)
	if c.cfg.UserAgent == "" {
		n--
	}
	answered := s.answered // the reading goroutine clears the field
	if err := c.wire.Open(&s.wire, (*events)(s), fields[:n], false); err != nil {
		return nil, err
	}
	if early != nil {
		early.Begin(s.trySend)
		defer early.End()
	}
	c.wire.Flush()
	select {
	case err := <-answered:
		if err != nil {
			return nil, err
		}
		return s, nil
	case <-ctx.Done():
		_ = s.end(http2.ErrCodeCancel)
		return nil, context.Cause(ctx)
	}
}

// refusals are streams that the proxy has refused, and whose answers have a body. They end
// in order when the body has come. A reset would do as well, but proxies count resets of
// young streams, and close a connection with many of them (CVE-2023-44487).
type refusals struct {
	mu         sync.Mutex
	young, old []*Stream
}

// maxRefusals is how many refusals may wait for their bodies. A further one is reset.
const maxRefusals = 256

// add waits for the rest of the answer on s, up to two sweeps.
func (r *refusals) add(s *Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.young) >= maxRefusals {
		s.wire.Reset(http2.ErrCodeCancel)
		return
	}
	r.young = append(r.young, s)
}

// sweep resets those whose body has not come since the sweep before.
func (r *refusals) sweep() {
	r.mu.Lock()
	old := r.old
	r.old, r.young = r.young, nil
	r.mu.Unlock()
	for _, s := range old {
		s.wire.Reset(http2.ErrCodeCancel)
	}
}
