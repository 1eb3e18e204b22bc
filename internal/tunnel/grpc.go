// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

const (
	// Flow control windows in bytes (RFC 9113, section 5.2). Both are raised:
	// with one alone the default of 64 KiB in the other stays the limit.
	//
	// The stream's is smaller: what it lets a server send lies outside of the
	// relay's bounds, and gRPC opens it again in steps of a quarter, for which
	// every other connection waits where an app sets the pace.
	streamWindow     = 256 << 10
	connectionWindow = 16 << 20
	transportBuffer  = 64 << 10
	// connectTimeout bounds one attempt of the shared connection.
	connectTimeout = 5 * time.Second
	// alertWait bounds the wait for a TLS alert that is most likely here already.
	alertWait = 100 * time.Millisecond
)

var errWrongMode = errors.New("the proxy-server speaks http-connect, not gRPC")

// grpcServer is the gRPC side of one server: one connection that all streams
// share, and those before it that still carry some.
type grpcServer struct {
	server *server
	last   atomic.Pointer[Error] // why the last attempt to connect failed

	mu      sync.Mutex
	current *transport
	closed  bool
}

// transport is one shared connection. It is replaced when the TLS files change,
// and closed when its last stream has ended then.
type transport struct {
	conn    *grpc.ClientConn
	files   int             // version of the TLS files
	inUse   context.Context // ends when another one takes its place
	replace context.CancelFunc

	streams int // under grpcServer.mu
}

func newGRPCServer(s *server) (*grpcServer, error) {
	g := &grpcServer{server: s}
	var err error
	g.current, err = g.newTransport(s.path.certs.version())
	return g, err
}

// use returns the transport for one more stream; release gives it back.
func (g *grpcServer) use() (*transport, error) {
	files := g.server.path.certs.version()
	g.mu.Lock()
	defer g.mu.Unlock()
	if files != g.current.files && !g.closed {
		next, err := g.newTransport(files)
		if err != nil {
			return nil, err
		}
		old := g.current
		g.current = next
		old.replace()
		if old.streams == 0 {
			_ = old.conn.Close()
		}
	}
	g.current.streams++
	return g.current, nil
}

func (g *grpcServer) release(t *transport) {
	g.mu.Lock()
	t.streams--
	last := t.streams == 0 && t != g.current
	g.mu.Unlock()
	if last {
		_ = t.conn.Close()
	}
}

// shared returns the transport that new streams would use.
func (g *grpcServer) shared() *transport {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.current
}

// close ends the shared connection; those before it end with their streams.
func (g *grpcServer) close() error {
	g.mu.Lock()
	g.closed = true
	current := g.current
	g.mu.Unlock()
	current.replace()
	return current.conn.Close()
}

func (g *grpcServer) newTransport(files int) (*transport, error) {
	s := g.server
	conn, err := grpc.NewClient("passthrough:///"+s.Name,
		// TLS is done by path.connect, for both modes alike.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(g.connect),
		grpc.WithAuthority(authority(s)),
		grpc.WithNoProxy(), // HTTPS_PROXY is not for this connection
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithUserAgent("shoot-proxy"),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithReadBufferSize(transportBuffer),
		grpc.WithWriteBufferSize(transportBuffer),
		grpc.WithSharedWriteBuffer(true),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: connectTimeout,
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
		}),
	)
	if err != nil {
		return nil, err
	}
	t := &transport{conn: conn, files: files}
	t.inUse, t.replace = context.WithCancel(context.Background())
	return t, nil
}

// authority is the :authority of the streams; a Unix socket has no name.
func authority(s *server) string {
	if s.Network == "unix" {
		return "localhost"
	}
	return s.Address
}

// connect makes the shared connection's transport.
func (g *grpcServer) connect(ctx context.Context, _ string) (net.Conn, error) {
	if conn := g.server.unpark(); conn != nil {
		g.last.Store(nil)
		return &alertConn{Conn: conn, grpc: g}, nil
	}
	conn, alpn, err := g.server.path.connect(ctx, g.server.protos()...)
	if err != nil {
		g.last.Store(err)
		return nil, err
	}
	if g.server.learn(alpn) != options.ModeGRPC {
		_ = conn.Close()
		err := &Error{Reason: ReasonProtocol, Server: g.server.Name, Err: errWrongMode, elsewhere: true}
		g.last.Store(err)
		return nil, err
	}
	g.last.Store(nil)
	return &alertConn{Conn: conn, grpc: g}, nil
}

// lastError says why the server cannot be reached.
func (g *grpcServer) lastError() error {
	if err := g.last.Load(); err != nil {
		return err
	}
	return &Error{Reason: ReasonServerUnreachable, Server: g.server.Name, Err: errors.New("connection lost"), elsewhere: true}
}

// dial opens a stream and asks for dst on it.
func (g *grpcServer) dial(ctx context.Context, dst netip.AddrPort) (Conn, *Error) {
	s, err := g.open(ctx)
	if err != nil {
		g.server.dialer.metrics.dialFailed(err, false)
		return nil, err
	}
	if err := s.dial(ctx, dst); err != nil {
		g.server.dialer.metrics.dialFailed(err, true)
		return nil, err
	}
	return s, nil
}

// open opens a stream. The stream outlives ctx, which bounds only its opening.
func (g *grpcServer) open(ctx context.Context) (*stream, *Error) {
	t, err := g.use()
	if err != nil {
		return nil, g.openError(ctx, err)
	}
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	if g.last.Load() != nil {
		// Somebody wants it now: do not sit out what is left of a back-off.
		t.conn.ResetConnectBackoff()
	}
	rpc, err := client.NewProxyServiceClient(t.conn).Proxy(sctx)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		g.release(t)
		return nil, g.openError(ctx, err)
	}
	return g.newStream(t, rpc, cancel), nil
}

func (g *grpcServer) openError(ctx context.Context, err error) *Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &Error{Reason: ReasonCancelled, Server: g.server.Name, Err: err}
	}
	if last := g.last.Load(); last != nil {
		return last
	}
	return g.lost(err)
}

// lost is the error of a stream that broke before the agent answered.
func (g *grpcServer) lost(err error) *Error {
	return &Error{
		Reason: ReasonServerUnreachable, Server: g.server.Name, elsewhere: true,
		Err: fmt.Errorf("%w: %s", ErrBroken, status.Convert(err).Message()),
	}
}

// alertConn notes why a server ends a connection on which it has said nothing
// yet: gRPC would report that its own first write failed.
type alertConn struct {
	net.Conn
	grpc  *grpcServer
	heard atomic.Bool
}

// Read is Conn.Read.
func (c *alertConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(true)
	}
	c.note(err)
	return n, err
}

// Write is Conn.Write. Where it fails, the alert that says why may be waiting to
// be read.
func (c *alertConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !c.heard.Load() {
		_ = c.SetReadDeadline(time.Now().Add(alertWait))
		_, rerr := c.Conn.Read(make([]byte, 1))
		c.note(rerr)
	}
	return n, err
}

func (c *alertConn) note(err error) {
	if _, ok := remoteAlert(err); ok {
		c.grpc.last.Store(c.grpc.server.path.alerted(err))
	}
}
