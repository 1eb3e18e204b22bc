// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc/status"

	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	proxyMethod = "/ProxyService/Proxy"
	// Flow control windows in bytes (RFC 9113, section 5.2). Both are raised:
	// with one alone the default of 64 KiB in the other stays the limit.
	//
	// The stream's is smaller: what it lets a server send is held where no app
	// receives it. It is opened again when the relay has received, in steps of a
	// half; where an app sets the pace, so that the server waits and every other
	// connection with it, at each Receive, of at most 128 KiB. The connection's is
	// opened when bytes arrive: it stops nobody for what others do not receive.
	streamWindow     = 256 << 10
	connectionWindow = 16 << 20
	// MaxMessage is how many bytes a packet has at most. Agents send 4 KiB in one, and
	// 32 KiB is the most that upstream puts into one anywhere; gRPC's own bound of 4
	// MiB would let a server have us put together as much for each stream.
	MaxMessage = 64 << 10
	// MaxAnswer is how many bytes the answer to a dial has at most: the agent's error
	// in words, or an id. It comes before anybody knows that there is a target.
	MaxAnswer = 8 << 10
	// linkMemory is what a link holds, whatever happens on it, in bytes: its buffer
	// for reading, and some for TLS and for writing.
	linkMemory = 128 << 10
	// maxHeaders bounds the headers of an answer, in bytes as RFC 9113, section
	// 6.5.2, counts them.
	maxHeaders = 64 << 10
	// linkTries is how many links that a dial is given may turn out to be broken.
	linkTries = 3
)

// link is one HTTP/2 connection to an endpoint, which many streams share. It is
// never mended: when it breaks, or when the TLS files change, or when a dial on
// it stayed silent, or when there are no more numbers for streams on it, the next
// stream is opened on another one, and it is closed when its last stream has ended.
type link struct {
	conn  *grpcwire.Conn
	files int             // version of the TLS files
	over  context.Context // ends when it takes no more streams
	end   context.CancelFunc

	streams int // under Dialer.mu
}

// usable reports whether l is for new streams, where the TLS files have the version
// files.
func (l *link) usable(files int) bool { return l.files == files && l.over.Err() == nil }

// room returns how many more streams l can carry, where there are fewer than none
// after the server has changed its mind. The caller holds Dialer.mu.
func (l *link) room() int { return l.conn.Limit() - max(l.streams, l.conn.Streams()) }

// Greet makes a link of conn. It is in use from then on, unless there is one that
// can be used: then it has shown that the server answers.
func (e *Dialer) Greet(ctx context.Context, conn net.Conn, files int) *tunnel.Error {
	l, err := e.newLink(ctx, conn, files)
	if err != nil {
		return err
	}
	current := e.shared.Files()
	e.mu.Lock()
	spare := e.links.usable(current) != nil
	var old []*link
	if !spare {
		old = e.admit(l, current)
	}
	e.mu.Unlock()
	if spare {
		l.end()
	}
	for _, l := range old {
		e.retire(l)
	}
	return nil
}

// newLink is startLink for a server of which nothing is known. It must be one for
// dials.
func (e *Dialer) newLink(ctx context.Context, conn net.Conn, files int) (*link, *tunnel.Error) {
	l, err := e.startLink(ctx, conn, files)
	if err != nil {
		return nil, err
	}
	if l.conn.Limit() == 0 {
		l.end()
		return nil, e.Unreachable(ctx, errNoStreams)
	}
	if wrong := e.identify(ctx, l.conn); wrong != nil {
		l.end()
		return nil, wrong
	}
	if err := l.conn.Err(); err != nil {
		l.end()
		return nil, e.silentWire(ctx, err)
	}
	return l, nil
}

// startLink returns a link when the server has answered on conn. It is retired
// when it is over.
func (e *Dialer) startLink(ctx context.Context, conn net.Conn, files int) (*link, *tunnel.Error) {
	d := e.shared
	l := &link{files: files}
	l.over, l.end = context.WithCancel(e.owner.Gone())
	conn, below := shareable(conn)
	l.conn = grpcwire.New(conn, below, grpcwire.Config{
		Scheme: e.scheme(), Authority: e.authority(), Path: proxyMethod, UserAgent: "shoot-proxy",
		StreamWindow: streamWindow, ConnectionWindow: connectionWindow, MaxMessage: MaxMessage, MaxFirst: MaxAnswer, MaxHeaders: maxHeaders,
		Draining: l.end, LimitRaised: e.seatWaiting, FirstStreamID: d.FirstStream,
	})
	d.linkFiles.Add(1)
	free := d.Quota.Reserve(linkMemory)
	d.Background.Go(func() {
		defer d.linkFiles.Add(-1)
		defer free()
		l.conn.Run()
	})
	err := l.conn.Ready(ctx)
	if err != nil {
		l.end()
		_ = l.conn.Close()
		return nil, e.silentWire(ctx, err)
	}
	d.Background.Go(func() {
		<-l.over.Done()
		e.retire(l)
	})
	return l, nil
}

// shareable puts a grpcwire.Socket below conn, where there is a socket, and returns
// what to use in place of conn.
func shareable(conn net.Conn) (net.Conn, *grpcwire.Socket) {
	below := grpcwire.NewSocket(serverconn.Unwrap(conn))
	if below == nil {
		return conn, nil
	}
	moved := serverconn.MoveTo(conn, below)
	if moved == nil {
		return conn, nil
	}
	return moved, below
}

// scheme is the :scheme of the streams.
func (e *Dialer) scheme() string {
	if e.Server.Network == tunnel.NetworkUnix {
		return "http"
	}
	return "https"
}

// authority is the :authority of the streams; a Unix socket has no name.
func (e *Dialer) authority() string {
	if e.Server.Network == tunnel.NetworkUnix {
		return "localhost"
	}
	return e.Server.Address
}

// silentWire is the error of a connection on which no server spoke HTTP/2, for err.
func (e *Dialer) silentWire(ctx context.Context, err error) *tunnel.Error {
	if _, ok := serverconn.RemoteAlert(err); ok {
		return e.Alerted(err)
	}
	if errors.Is(err, grpcwire.ErrHTTP1) {
		return e.NoHTTP2(grpcwire.ErrHTTP1)
	}
	return e.Unreachable(ctx, fmt.Errorf("no HTTP/2 answer from %s: %w; is it a gRPC server (%s)?", e.Address(), err, e.Names().Mode))
}

// dial opens a stream and asks for dst on it. Where the server says that it
// has not even looked at the stream, as one does that is about to end, it asks once
// more.
func (e *Dialer) dial(ctx context.Context, dst netip.AddrPort) (tunnel.Conn, *tunnel.Error) {
	metrics := e.shared.Metrics
	for again := true; ; again = false {
		s, err := e.open(ctx)
		if err != nil {
			metrics.dialFailed(err, false)
			return nil, err
		}
		began := time.Now()
		if err = s.dial(ctx, dst); err == nil {
			return s, nil
		}
		if errors.Is(err, konnectivity.ErrGaveUp) && err.Reason != tunnel.ReasonCancelled && e.owner.Patient(began) {
			// The agent may be at fault, or the server, or this connection. It costs
			// little to leave it, and what replaces it must answer first.
			e.retire(s.link)
		}
		if again && ctx.Err() == nil && s.wasRefused() {
			continue
		}
		metrics.dialFailed(err, true)
		return nil, err
	}
}

// open opens a stream, on a new link where there is none or where it turns out
// to be broken or used up: nothing was sent on it yet.
func (e *Dialer) open(ctx context.Context) (*stream, *tunnel.Error) {
	for tries := 1; ; tries++ {
		l, late := e.use(ctx)
		fresh := l == nil && late == nil
		if fresh {
			if err := e.owner.Reach(ctx); err != nil {
				return nil, err
			}
			l, late = e.use(ctx)
		}
		switch {
		case late != nil:
			return nil, late
		case l == nil:
			return nil, e.lost(errLost)
		}
		s, err := e.newStream(l, func(h grpcwire.Handler) (rpc, error) { return l.conn.Open(h) })
		if err == nil {
			return s, nil
		}
		e.release(l)
		full := errors.Is(err, grpcwire.ErrFull) // the server allows less than a moment ago
		if ctx.Err() != nil || !full && (fresh || tries >= linkTries) {
			return nil, e.lost(err)
		}
		if !full {
			e.retire(l)
		}
	}
}

// lost is the error of a stream that broke before the agent answered.
func (e *Dialer) lost(err error) *tunnel.Error {
	if wrong := e.judgeAnswer(err); wrong != nil {
		return wrong
	}
	return &tunnel.Error{
		Reason: tunnel.ReasonServerUnreachable, Server: e.Server.Name, Fault: tunnel.FaultServer,
		Err: fmt.Errorf("%w: %.200s", tunnel.ErrBroken, status.Convert(err).Message()),
	}
}
