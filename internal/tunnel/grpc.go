// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
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
	streamWindow     = 4 << 20
	connectionWindow = 16 << 20
	transportBuffer  = 64 << 10
	// connectTimeout bounds one attempt of the shared connection.
	connectTimeout = 5 * time.Second
)

var errWrongMode = errors.New("the proxy-server speaks http-connect, not gRPC")

// grpcServer is the gRPC side of one server: one connection that all streams
// share.
type grpcServer struct {
	server *server
	conn   *grpc.ClientConn
	last   atomic.Pointer[Error] // why the last attempt to connect failed
}

func newGRPCServer(s *server) (*grpcServer, error) {
	g := &grpcServer{server: s}
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
	g.conn = conn
	return g, nil
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
		return conn, nil
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
	return conn, nil
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
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	if g.last.Load() != nil {
		// Somebody wants it now: do not sit out what is left of a back-off.
		g.conn.ResetConnectBackoff()
	}
	rpc, err := client.NewProxyServiceClient(g.conn).Proxy(sctx)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		return nil, g.openError(ctx, err)
	}
	s := &stream{
		server: g.server, rpc: rpc, cancel: cancel,
		random: rand.Int64(), answered: make(chan *Error, 1),
	}
	s.move(statusCreated)
	g.server.active.Add(1)
	return s, nil
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
	text := status.Convert(err).Message()
	e := &Error{Reason: ReasonServerUnreachable, Server: g.server.Name, Err: fmt.Errorf("%w: %s", ErrBroken, text), elsewhere: true}
	// With TLS 1.3 a server refuses a client certificate only after the client
	// has finished its handshake, so gRPC finds out, and has but a text.
	if strings.Contains(text, "remote error: tls:") {
		e.Reason = ReasonTLS
		e.Err = fmt.Errorf("it refused the TLS handshake: %s; is --client-cert signed by the CA that it trusts?", text)
	}
	return e
}
