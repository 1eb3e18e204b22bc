// SPDX-License-Identifier: Apache-2.0

package h2proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// linkMemory is how many bytes a link holds in any case: its buffer for reading, and some
// for TLS and for writing.
const linkMemory = 128 << 10

var (
	errNoStreams = errors.New("it allows no streams (SETTINGS_MAX_CONCURRENT_STREAMS is 0): look at the limits of the proxy")
	errTooFew    = errors.New("the proxy allows few streams on a connection, and there is no file or memory for another connection: raise the container's limits, or what the proxy allows")
	errLeaves    = errors.New("it has ended a further connection to it at once")
)

// link is one HTTP/2 connection to the proxy, which many streams share. It is never
// repaired. When it breaks, when the proxy wants it to end, or when the TLS files change,
// new streams use another link. A link is closed when its last stream has ended.
type link struct {
	conn  *h2connect.Conn
	files int             // version of the TLS files
	over  context.Context // ends when the link takes no more streams
	end   context.CancelFunc

	streams int // guarded by Dialer.mu
}

// usable reports whether l is for new streams. files is the version of the TLS files.
func (l *link) usable(files int) bool { return l.files == files && l.over.Err() == nil }

// room returns how many more streams l can carry. The caller holds Dialer.mu.
func (l *link) room() int { return l.conn.Limit() - max(l.streams, l.conn.Streams()) }

// newLink returns a link when the server on conn has shown that it accepts CONNECT.
func (d *Dialer) newLink(ctx context.Context, conn net.Conn, files int) (*link, *tunnel.Error) {
	l, err := d.startLink(ctx, conn, files)
	if err != nil {
		return nil, err
	}
	if l.conn.Limit() == 0 {
		err = d.Unreachable(ctx, errNoStreams)
	} else {
		err = d.identify(ctx, l.conn)
	}
	if err != nil {
		d.retire(l)
		return nil, err
	}
	return l, nil
}

// startLink returns a link when the server has answered on conn. The link is retired when
// its context over has ended.
func (d *Dialer) startLink(ctx context.Context, conn net.Conn, files int) (*link, *tunnel.Error) {
	l := &link{files: files}
	l.over, l.end = context.WithCancel(d.owner.Gone())
	conn, below := serverconn.PutBelow(conn, http2wire.NewSocket)
	l.conn = h2connect.New(conn, below, h2connect.Config{UserAgent: "shoot-proxy", Quota: d.shared.Quota, Draining: l.end})
	d.shared.linkFiles.Add(1)
	free := d.shared.Quota.Reserve(linkMemory)
	d.shared.Background.Go(func() {
		defer d.shared.linkFiles.Add(-1)
		defer free()
		l.conn.Run()
	})
	if err := l.conn.Ready(ctx); err != nil {
		l.end()
		_ = l.conn.Close()
		return nil, d.noHTTP2Answer(ctx, err)
	}
	d.shared.Background.Go(func() {
		<-l.over.Done()
		d.retire(l)
	})
	return l, nil
}

// noHTTP2Answer returns the error of a connection on which no server spoke HTTP/2. err is
// what happened.
func (d *Dialer) noHTTP2Answer(ctx context.Context, err error) *tunnel.Error {
	if _, ok := serverconn.RemoteAlert(err); ok {
		return d.Alerted(err)
	}
	if errors.Is(err, h2connect.ErrHTTP1) {
		wrong := d.WrongServer(fmt.Errorf("it does not speak HTTP/2 (%w), which %s needs", err, d.ModeSetting()))
		wrong.Next = d.NotAProxy()
		return wrong
	}
	return d.Unreachable(ctx, fmt.Errorf("no HTTP/2 answer from %s: %w; is it an HTTP/2 proxy (%s)?", d.Address(), err, d.ModeSetting()))
}

// reserve returns a link with room for one more stream, which the caller gives back by
// release. It makes a link if there is none with room.
func (d *Dialer) reserve(ctx context.Context) (*link, *tunnel.Error) {
	for {
		files := d.shared.Files()
		d.mu.Lock()
		usable := false
		for _, l := range d.links {
			if !l.usable(files) {
				continue
			}
			if usable = true; l.room() > 0 {
				l.streams++
				d.mu.Unlock()
				return l, nil
			}
		}
		var making *attempt
		if usable {
			making = d.beginLink()
		}
		d.mu.Unlock()
		var err *tunnel.Error
		if making == nil {
			err = d.owner.Check(ctx)
		} else {
			err = d.await(ctx, making)
		}
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, d.failed(ctx, ctx.Err())
		}
	}
}

// await waits for the end of an attempt.
func (d *Dialer) await(ctx context.Context, a *attempt) *tunnel.Error {
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return d.failed(ctx, ctx.Err())
	}
}

// beginLink begins to make a further link, unless that is under way. The caller holds mu.
func (d *Dialer) beginLink() *attempt {
	if d.more != nil {
		return d.more
	}
	a := &attempt{done: make(chan struct{})}
	d.more = a
	d.shared.Background.Go(func() {
		a.err = d.addLink()
		d.mu.Lock()
		d.more = nil
		d.mu.Unlock()
		close(a.done)
	})
	return a
}

// addLink makes a further link. A check has found out before which server it is.
func (d *Dialer) addLink() *tunnel.Error {
	if !d.shared.Quota.Room(linkMemory) || !d.shared.AffordsFile() {
		return &tunnel.Error{Reason: tunnel.ReasonMaxConnections, Server: d.Server.Name, Fault: tunnel.FaultProcess, Err: errTooFew}
	}
	ctx, cancel := context.WithTimeout(d.owner.Gone(), serverconn.CheckTimeout)
	defer cancel()
	files := d.shared.Files()
	conn, _, err := d.owner.Connect(ctx)
	if err != nil {
		return err
	}
	l, err := d.startLink(ctx, conn, files)
	if err != nil {
		return err
	}
	if l.conn.Limit() == 0 || l.over.Err() != nil {
		d.retire(l)
		return &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: d.Server.Name, Err: errLeaves, Fault: tunnel.FaultServer}
	}
	d.admit(l)
	return nil
}

// admit puts l into use. Links with other TLS files are retired.
func (d *Dialer) admit(l *link) {
	var old []*link
	d.mu.Lock()
	for _, other := range d.links {
		if other.files != l.files {
			old = append(old, other)
		}
	}
	if l.over.Err() == nil {
		d.links = append(d.links, l)
	}
	d.mu.Unlock()
	for _, l := range old {
		d.retire(l)
	}
}

// retire takes l out of use for new streams.
func (d *Dialer) retire(l *link) {
	l.end()
	d.mu.Lock()
	if i := slices.Index(d.links, l); i >= 0 {
		d.links = slices.Delete(d.links, i, i+1)
	}
	idle := l.streams == 0
	d.mu.Unlock()
	if idle {
		_ = l.conn.Close()
	}
}

// release gives back the room that reserve has returned. It closes a link that is not in
// use any more with its last stream, and one that the others can do without.
func (d *Dialer) release(l *link) {
	d.mu.Lock()
	l.streams--
	idle := l.streams == 0
	inUse := slices.Contains(d.links, l)
	wanted := l.conn.Limit() / 2
	for _, other := range d.links {
		if other != l {
			wanted -= max(0, other.room())
		}
	}
	d.mu.Unlock()
	if idle && (!inUse || wanted < 0) {
		d.retire(l)
	}
}
