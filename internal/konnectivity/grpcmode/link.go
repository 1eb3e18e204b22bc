// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc/status"

	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	proxyMethod = "/ProxyService/Proxy"
	// Flow control windows in bytes (RFC 9113, section 5.2). Both are raised: if one
	// stays at its default of 64 KiB, it is the limit.
	//
	// A stream's window is the smaller one, because we hold what it lets a server send
	// until an app receives it. It is opened again when the relay has received half of
	// it. If an app sets the pace, the server waits, and every other connection with
	// it. Then the window is opened at each Receive, which returns 128 KiB at most. The
	// connection's window is opened when bytes arrive, so no stream waits for bytes
	// that another has not received.
	streamWindow     = 256 << 10
	connectionWindow = 16 << 20
	// MaxMessage is how many bytes a packet has at most. Agents send 4 KiB in one, and
	// nothing of upstream puts more than 32 KiB into one. gRPC's own bound of 4 MiB
	// would let a server make us hold as much for each stream.
	MaxMessage = 64 << 10
	// MaxAnswer is how many bytes the answer to a dial has at most. It is the agent's
	// error text, or an id. It comes before it is known that there is a target.
	MaxAnswer = 8 << 10
	// linkMemory is how many bytes a link holds in any case: its buffer for reading,
	// and some for TLS and for writing.
	linkMemory = 128 << 10
	// maxHeaders bounds the headers of an answer, in bytes as RFC 9113, section 6.5.2,
	// counts them.
	maxHeaders = 64 << 10
	// linkTries is how many links a dial tries if they turn out to be broken.
	linkTries = 3
)

// link is one HTTP/2 connection to an endpoint, which many streams share. It is never
// repaired. When it breaks, when a dial on it stayed silent, or when it has no more
// stream numbers, new streams use another link. They also do so when the TLS files
// change. A link is closed when its last stream has ended.
type link struct {
	conn  *grpcwire.Conn
	files int             // version of the TLS files
	over  context.Context // ends when the link takes no more streams
	end   context.CancelFunc

	streams int // guarded by Dialer.mu
}

// usable reports whether l is for new streams. files is the version of the TLS files.
func (l *link) usable(files int) bool { return l.files == files && l.over.Err() == nil }

// room returns how many more streams l can carry. It is negative if the server has
// lowered its limit. The caller holds Dialer.mu.
func (l *link) room() int { return l.conn.Limit() - max(l.streams, l.conn.Streams()) }

// Greet makes a link of conn and puts it into use. If there is a usable link already,
// it ends the new one, which has shown that the server answers.
func (d *Dialer) Greet(ctx context.Context, conn net.Conn, files int) *tunnel.Error {
	l, err := d.newLink(ctx, conn, files)
	if err != nil {
		return err
	}
	current := d.shared.Files()
	d.mu.Lock()
	spare := d.links.usable(current) != nil
	var old []*link
	if !spare {
		old = d.admit(l, current)
	}
	d.mu.Unlock()
	if spare {
		l.end()
	}
	for _, l := range old {
		d.retire(l)
	}
	return nil
}

// newLink is startLink for a server that is not known yet. It returns an error if the
// server is not one for dials.
func (d *Dialer) newLink(ctx context.Context, conn net.Conn, files int) (*link, *tunnel.Error) {
	l, err := d.startLink(ctx, conn, files)
	if err != nil {
		return nil, err
	}
	if l.conn.Limit() == 0 {
		l.end()
		return nil, d.Unreachable(ctx, errNoStreams)
	}
	if wrong := d.identify(ctx, l.conn); wrong != nil {
		l.end()
		return nil, wrong
	}
	if err := l.conn.Err(); err != nil {
		l.end()
		return nil, d.noHTTP2Answer(ctx, err)
	}
	return l, nil
}

// startLink returns a link when the server has answered on conn. The link is retired
// when its context over has ended.
func (d *Dialer) startLink(ctx context.Context, conn net.Conn, files int) (*link, *tunnel.Error) {
	shared := d.shared
	l := &link{files: files}
	l.over, l.end = context.WithCancel(d.owner.Gone())
	conn, below := serverconn.PutBelow(conn, grpcwire.NewSocket)
	l.conn = grpcwire.New(conn, below, grpcwire.Config{
		Scheme: d.scheme(), Authority: d.authority(), Path: proxyMethod, UserAgent: "shoot-proxy",
		StreamWindow: streamWindow, ConnectionWindow: connectionWindow, MaxMessage: MaxMessage, MaxFirst: MaxAnswer, MaxHeaders: maxHeaders,
		Draining: l.end, LimitRaised: d.grantWaiting, FirstStreamID: shared.FirstStream,
	})
	shared.linkFiles.Add(1)
	free := shared.Quota.Reserve(linkMemory)
	shared.Background.Go(func() {
		defer shared.linkFiles.Add(-1)
		defer free()
		l.conn.Run()
	})
	err := l.conn.Ready(ctx)
	if err != nil {
		l.end()
		_ = l.conn.Close()
		return nil, d.noHTTP2Answer(ctx, err)
	}
	shared.Background.Go(func() {
		<-l.over.Done()
		d.retire(l)
	})
	return l, nil
}

// scheme returns the :scheme of the streams.
func (d *Dialer) scheme() string {
	if d.Server.Network == tunnel.NetworkUnix {
		return "http"
	}
	return "https"
}

// authority returns the :authority of the streams. A Unix socket has no name.
func (d *Dialer) authority() string {
	if d.Server.Network == tunnel.NetworkUnix {
		return "localhost"
	}
	return d.Server.Address
}

// noHTTP2Answer returns the error of a connection on which no server spoke HTTP/2. err
// is what happened.
func (d *Dialer) noHTTP2Answer(ctx context.Context, err error) *tunnel.Error {
	if _, ok := serverconn.RemoteAlert(err); ok {
		return d.Alerted(err)
	}
	if errors.Is(err, grpcwire.ErrHTTP1) {
		return d.NoHTTP2(grpcwire.ErrHTTP1)
	}
	return d.Unreachable(ctx, fmt.Errorf("no HTTP/2 answer from %s: %w; is it a gRPC server (%s)?", d.Address(), err, d.ModeSetting()))
}

// dial opens a stream and dials dst on it. A server that is about to end may say that
// it did not process the stream. Then dial tries once more.
func (d *Dialer) dial(ctx context.Context, dst tunnel.Target) (tunnel.Conn, *tunnel.Error) {
	metrics := d.shared.Metrics
	for again := true; ; again = false {
		s, err := d.open(ctx)
		if err != nil {
			metrics.dialFailed(err, false)
			return nil, err
		}
		began := time.Now()
		if err = s.dial(ctx, dst); err == nil {
			return s, nil
		}
		if errors.Is(err, konnectivity.ErrGaveUp) && err.Reason != tunnel.ReasonCancelled && d.owner.WaitedLongEnough(began) {
			// The cause may be the agent, the server, or this connection. Another link
			// costs little, and its server must answer first.
			d.retire(s.link)
		}
		if again && ctx.Err() == nil && s.wasRefused() {
			continue
		}
		metrics.dialFailed(err, true)
		err.IDs = tunnel.IDs{Dial: s.random}
		return nil, err
	}
}

// open opens a stream. It makes a new link if there is none, or if the one at hand is
// broken or used up. Nothing was sent on the stream yet.
func (d *Dialer) open(ctx context.Context) (*stream, *tunnel.Error) {
	for tries := 1; ; tries++ {
		l, late := d.reserve(ctx)
		fresh := l == nil && late == nil
		if fresh {
			if err := d.owner.Check(ctx); err != nil {
				return nil, err
			}
			l, late = d.reserve(ctx)
		}
		switch {
		case late != nil:
			return nil, late
		case l == nil:
			return nil, d.brokenStream(errLost)
		}
		s, err := d.newStream(l, func(h grpcwire.Handler) (rpc, error) { return l.conn.Open(h) })
		if err == nil {
			return s, nil
		}
		d.release(l)
		full := errors.Is(err, grpcwire.ErrFull) // the server has lowered its limit a moment ago
		if ctx.Err() != nil || !full && (fresh || tries >= linkTries) {
			return nil, d.brokenStream(err)
		}
		if !full {
			d.retire(l)
		}
	}
}

// brokenStream returns the error of a stream that broke before the agent answered.
func (d *Dialer) brokenStream(err error) *tunnel.Error {
	if wrong := d.judgeAnswer(err); wrong != nil {
		return wrong
	}
	return &tunnel.Error{
		Reason: tunnel.ReasonServerUnreachable, Server: d.Server.Name, Fault: tunnel.FaultServer,
		Err: fmt.Errorf("%w: %.200s", tunnel.ErrBroken, status.Convert(err).Message()),
	}
}
