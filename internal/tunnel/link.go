// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
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
	// maxHeaders bounds the headers of an answer, in bytes as RFC 9113, section
	// 6.5.2, counts them. gRPC's own bound of 16 MiB takes four times as much
	// memory.
	maxHeaders = 64 << 10
	// alertWait bounds the wait for a TLS alert that is most likely here already.
	alertWait = 100 * time.Millisecond
)

// link is one HTTP/2 connection to an endpoint, which many streams share. It is
// never mended: when it breaks, or when the TLS files change, or when a dial on
// it stayed silent, the next stream is opened on another one, and it is closed
// when its last stream has ended.
type link struct {
	conn  *grpc.ClientConn
	files int             // version of the TLS files
	over  context.Context // ends when it takes no more streams
	end   context.CancelFunc

	streams int // under endpoint.mu
}

// join makes a link of conn. It is in use from then on, unless there is one that
// can be used: then it has shown that the server answers.
func (e *endpoint) join(ctx context.Context, conn net.Conn, files int) *Error {
	l, err := e.newLink(ctx, conn, files)
	if err != nil {
		return err
	}
	current := e.server.dialer.certs.version()
	e.mu.Lock()
	old := e.link
	spare := old != nil && old.files == current
	if !spare {
		e.link = l
	}
	e.mu.Unlock()
	switch {
	case spare:
		l.end()
		_ = l.conn.Close()
		return nil
	case old != nil:
		e.retire(old)
	}
	e.server.dialer.background.Go(func() {
		l.conn.WaitForStateChange(l.over, connectivity.Ready)
		e.retire(l)
	})
	return nil
}

// newLink returns a link when the server has answered on conn.
func (e *endpoint) newLink(ctx context.Context, conn net.Conn, files int) (*link, *Error) {
	w := &wire{Conn: conn}
	cc, err := grpc.NewClient("passthrough:///"+e.server.Name,
		// TLS is done by connect, for both modes alike.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(w.handOut),
		grpc.WithAuthority(e.authority()),
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
		grpc.WithMaxHeaderListSize(maxHeaders),
	)
	if err != nil {
		_ = conn.Close()
		return nil, &Error{Reason: ReasonOther, Server: e.server.Name, Err: err}
	}
	if !w.ready(ctx, cc) {
		_ = cc.Close()
		_ = conn.Close()
		return nil, e.silentWire(ctx, w)
	}
	l := &link{conn: cc, files: files}
	l.over, l.end = context.WithCancel(e.gone)
	return l, nil
}

// authority is the :authority of the streams; a Unix socket has no name.
func (e *endpoint) authority() string {
	if e.server.Network == networkUnix {
		return "localhost"
	}
	return e.server.Address
}

// silentWire is the error of a connection on which no server spoke HTTP/2.
func (e *endpoint) silentWire(ctx context.Context, w *wire) *Error {
	err := error(errLost)
	if failure := w.failure.Load(); failure != nil {
		err = *failure
	} else if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if _, ok := remoteAlert(err); ok {
		return e.alerted(err)
	}
	return e.server.unreachable(ctx, fmt.Errorf("no HTTP/2 answer from %s: %w; is it a gRPC server (--mode)?", e.address(), err))
}

// usable returns the link for new streams, or nil where there has to be another.
func (e *endpoint) usable() *link {
	files := e.server.dialer.certs.version()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.usableWith(files)
}

func (e *endpoint) usableWith(files int) *link {
	if e.link == nil || e.link.files != files {
		return nil
	}
	return e.link
}

// use is usable for one more stream; release gives it back.
func (e *endpoint) use() *link {
	files := e.server.dialer.certs.version()
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.usableWith(files)
	if l != nil {
		l.streams++
	}
	return l
}

func (e *endpoint) release(l *link) {
	e.mu.Lock()
	l.streams--
	last := l.streams == 0 && l != e.link
	e.mu.Unlock()
	if last {
		_ = l.conn.Close()
	}
}

// retire takes l out of use for new streams.
func (e *endpoint) retire(l *link) {
	e.mu.Lock()
	if e.link == l {
		e.link = nil
	}
	idle := l.streams == 0
	e.mu.Unlock()
	l.end()
	if idle {
		_ = l.conn.Close()
	}
}

// dialGRPC opens a stream and asks for dst on it.
func (e *endpoint) dialGRPC(ctx context.Context, dst netip.AddrPort) (Conn, *Error) {
	metrics := e.server.dialer.metrics
	s, err := e.open(ctx)
	if err != nil {
		metrics.dialFailed(err, false)
		return nil, err
	}
	began := time.Now()
	if err := s.dial(ctx, dst); err != nil {
		if errors.Is(err, errGaveUp) && err.Reason != ReasonCancelled && e.server.dialer.patient(began) {
			// The agent may be at fault, or the server, or this connection. It costs
			// little to leave it, and what replaces it must answer first.
			e.retire(s.link)
		}
		metrics.dialFailed(err, true)
		return nil, err
	}
	return s, nil
}

// open opens a stream, on a new link where there is none or where it turns out
// to be broken: nothing was sent on it yet.
func (e *endpoint) open(ctx context.Context) (*stream, *Error) {
	for {
		l := e.use()
		fresh := l == nil
		if fresh {
			if err := e.reach(ctx); err != nil {
				return nil, err
			}
			if l = e.use(); l == nil {
				return nil, e.lost(errLost)
			}
		}
		s, err := e.openOn(ctx, l)
		if err == nil {
			return s, nil
		}
		e.release(l)
		if fresh || ctx.Err() != nil {
			return nil, err
		}
		e.retire(l)
	}
}

// openOn opens a stream on l. The stream outlives ctx, which bounds only its
// opening.
func (e *endpoint) openOn(ctx context.Context, l *link) (*stream, *Error) {
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	rpc, err := client.NewProxyServiceClient(l.conn).Proxy(sctx)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, &Error{Reason: ReasonCancelled, Server: e.server.Name, Err: err}
		}
		return nil, e.lost(err)
	}
	return e.newStream(l, rpc, cancel), nil
}

// lost is the error of a stream that broke before the agent answered.
func (e *endpoint) lost(err error) *Error {
	return &Error{
		Reason: ReasonServerUnreachable, Server: e.server.Name, elsewhere: true,
		Err: fmt.Errorf("%w: %.200s", ErrBroken, status.Convert(err).Message()),
	}
}

// wire is the connection under a link, which gRPC gets once. It notes why it
// ended where the server said nothing on it: gRPC would report that its own
// first write failed.
type wire struct {
	net.Conn
	given   atomic.Bool
	heard   atomic.Bool
	failure atomic.Pointer[error]
}

func (w *wire) handOut(context.Context, string) (net.Conn, error) {
	if w.given.Swap(true) {
		return nil, errLost
	}
	return w, nil
}

// ready waits until the server has answered on cc, which is on w.
func (w *wire) ready(ctx context.Context, cc *grpc.ClientConn) bool {
	cc.Connect()
	for {
		state := cc.GetState()
		switch {
		case state == connectivity.Ready:
			return true
		case state == connectivity.TransientFailure, state == connectivity.Shutdown:
			return false
		case state == connectivity.Idle && w.given.Load():
			return false // it answered and ended
		}
		if !cc.WaitForStateChange(ctx, state) {
			return false
		}
	}
}

// Read is Conn.Read.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.heard.Store(true)
	}
	w.note(err)
	return n, err
}

// Write is Conn.Write. Where it fails, the alert that says why may be waiting to
// be read.
func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if err != nil && !w.heard.Load() {
		_ = w.SetReadDeadline(time.Now().Add(alertWait))
		_, rerr := w.Conn.Read(make([]byte, 1))
		w.note(rerr)
	}
	return n, err
}

func (w *wire) note(err error) {
	if err != nil && !w.heard.Load() {
		w.failure.CompareAndSwap(nil, &err)
	}
}
