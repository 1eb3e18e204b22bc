// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// linksAtOnce is how many links are made at the same time for dials that found
	// the others full. The server has to make as many TLS handshakes.
	linksAtOnce = 8
)

var (
	errNoStreams    = errors.New("it allows no streams (SETTINGS_MAX_CONCURRENT_STREAMS is 0): look at the limits of the proxy-server, or of what is in front of it")
	errOtherKind    = errors.New("a further connection to it was not HTTP/2, as the first was")
	errLeaves       = errors.New("it has ended a further connection to it at once")
	errLost         = errors.New("connection lost")
	errLinksTooSlow = errors.New("its connections carry as many streams as it allows, and no further connection was ready in time")
)

// links are an endpoint's connections in gRPC mode. One carries all streams, where
// the server allows so many on one. Where it does not, dials that find all of them
// full wait for room, or for further links that are made for them at once.
//
// Its fields are under Dialer.mu. The zero value has no links.
type links struct {
	inUse   []*link     // for new streams, the oldest first
	making  int         // further ones that are being made
	waiting []chan seat // dials that found no room, the first of them first
}

// seat is room for a stream on a link, or why there is none.
type seat struct {
	link *link
	err  *tunnel.Error
}

// usable returns the first link for new streams, full or not, or nil.
func (k *links) usable(files int) *link {
	for _, l := range k.inUse {
		if l.usable(files) {
			return l
		}
	}
	return nil
}

// roomy returns the first link with room for a stream, or nil. So the later ones
// become idle before the earlier ones do.
func (k *links) roomy(files int) *link {
	for _, l := range k.inUse {
		if l.usable(files) && l.room() > 0 {
			return l
		}
	}
	return nil
}

// each returns how many streams a further link is likely to carry.
func (k *links) each() int {
	if len(k.inUse) == 0 {
		return 1
	}
	return max(1, k.inUse[len(k.inUse)-1].conn.Limit())
}

// seat gives those that wait the room that there is.
func (k *links) seat(files int) {
	for len(k.waiting) > 0 {
		l := k.roomy(files)
		if l == nil {
			return
		}
		l.streams++
		k.waiting[0] <- seat{link: l}
		k.waiting = k.waiting[1:]
	}
}

// turnAway gives err to those for which nothing is being made.
func (k *links) turnAway(err *tunnel.Error) {
	served := 0
	if k.making > 0 {
		served = min(len(k.waiting), k.making*k.each())
	}
	for _, w := range k.waiting[served:] {
		w <- seat{err: err}
	}
	k.waiting = k.waiting[:served:served]
}

// drop takes l out of use.
func (k *links) drop(l *link) {
	if i := slices.Index(k.inUse, l); i >= 0 {
		k.inUse = slices.Delete(k.inUse, i, i+1)
	}
}

// superfluous takes one idle link out of use and returns it, if the others have
// room for half of what it could carry. Otherwise superfluous returns nil.
func (k *links) superfluous() *link {
	if len(k.inUse) < 2 {
		return nil
	}
	i := len(k.inUse) - 1
	for ; k.inUse[i].streams > 0; i-- {
		if i == 0 {
			return nil
		}
	}
	idle := k.inUse[i]
	wanted := max(1, idle.conn.Limit()/2)
	for _, l := range k.inUse {
		if l != idle && l.usable(idle.files) {
			wanted -= max(0, l.room())
		}
		if wanted <= 0 {
			k.drop(idle)
			return idle
		}
	}
	return nil
}

// usable returns the link for new streams, full or not, or nil where there has to
// be another.
func (e *Dialer) usable() *link {
	files := e.shared.Files()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.links.usable(files)
}

// use returns a link with room for one more stream, which release gives back, or
// nil where there is no link at all. If all are full, use waits.
func (e *Dialer) use(ctx context.Context) (*link, *tunnel.Error) {
	files := e.shared.Files()
	e.mu.Lock()
	if e.links.usable(files) == nil {
		e.mu.Unlock()
		return nil, nil
	}
	if l := e.links.roomy(files); l != nil {
		l.streams++
		e.mu.Unlock()
		return l, nil
	}
	wait := make(chan seat, 1)
	e.links.waiting = append(e.links.waiting, wait)
	e.extend()
	e.mu.Unlock()
	select {
	case s := <-wait:
		return s.link, s.err
	case <-ctx.Done():
		e.stopWaiting(wait)
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, &tunnel.Error{Reason: tunnel.ReasonCancelled, Server: e.Server.Name, Err: errLinksTooSlow}
		}
		return nil, &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: e.Server.Name, Err: errLinksTooSlow, Fault: tunnel.FaultServer}
	}
}

// stopWaiting ends a wait for room.
func (e *Dialer) stopWaiting(wait chan seat) {
	e.mu.Lock()
	if i := slices.Index(e.links.waiting, wait); i >= 0 {
		e.links.waiting = slices.Delete(e.links.waiting, i, i+1)
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	if s := <-wait; s.link != nil {
		e.release(s.link)
	}
}

// extend begins to make links for the dials that wait, as many as they need. The
// caller holds mu.
func (e *Dialer) extend() {
	k := &e.links
	for k.making < linksAtOnce && k.making*k.each() < len(k.waiting) {
		if !e.shared.Quota.Room(linkMemory) || !e.shared.AffordsFile() {
			k.turnAway(&tunnel.Error{
				Reason: tunnel.ReasonMaxConnections, Server: e.Server.Name, Fault: tunnel.FaultProcess,
				Err: fmt.Errorf("the server allows %d streams on a connection, and there are too few files for another connection: raise the container's limit of open files, or what the server allows", k.each()),
			})
			return
		}
		k.making++
		e.shared.Background.Go(e.another)
	}
}

// another makes one more link. It says nothing about whether the server can be
// reached: that is for a look.
func (e *Dialer) another() {
	ctx, cancel := context.WithTimeout(e.owner.Gone(), serverconn.CheckTimeout)
	defer cancel()
	l, err := e.connectLink(ctx)
	if err != nil && e.owner.Gone().Err() != nil {
		err = e.owner.Departed() // it was not the app that has given up
	}
	files := e.shared.Files()
	var leaving []*link
	e.mu.Lock()
	e.links.making--
	if err == nil && l.over.Err() != nil {
		err = &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: e.Server.Name, Err: errLeaves, Fault: tunnel.FaultServer}
	}
	if err == nil {
		leaving = e.admit(l, files)
		e.extend()
	} else {
		e.links.turnAway(err)
	}
	// Dials may have found other room meanwhile, or have given up.
	for spare := e.links.superfluous(); spare != nil; spare = e.links.superfluous() {
		leaving = append(leaving, spare)
	}
	e.mu.Unlock()
	for _, l := range leaving {
		e.retire(l)
	}
}

// connectLink connects for another, to a server of which a look has found out what
// it is.
func (e *Dialer) connectLink(ctx context.Context) (*link, *tunnel.Error) {
	files := e.shared.Files()
	conn, alpn, err := e.owner.NewConnection(ctx)
	if err != nil {
		return nil, err
	}
	if e.Server.Mode == tunnel.ModeAuto && alpn == serverconn.ALPNHTTP1 {
		_ = conn.Close()
		return nil, e.Unreachable(ctx, errOtherKind)
	}
	l, err := e.startLink(ctx, conn, files)
	if err == nil && l.conn.Limit() == 0 {
		l.end()
		return nil, &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: e.Server.Name, Err: errNoStreams, Fault: tunnel.FaultServer}
	}
	return l, err
}

// admit puts l into use, for those that wait first. It returns the links that are
// to be retired: they have other files. The caller holds mu.
func (e *Dialer) admit(l *link, files int) (old []*link) {
	for _, other := range e.links.inUse {
		if other.files != files {
			old = append(old, other)
		}
	}
	if l.over.Err() == nil {
		e.links.inUse = append(e.links.inUse, l)
	}
	e.links.seat(files)
	return old
}

// seatWaiting gives dials that wait the room that a server has just made.
func (e *Dialer) seatWaiting() {
	files := e.shared.Files()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.links.seat(files)
}

// release gives back what use has returned.
func (e *Dialer) release(l *link) {
	e.mu.Lock()
	l.streams--
	if len(e.links.waiting) > 0 {
		e.links.seat(e.shared.Files())
	}
	last := l.streams == 0 && !slices.Contains(e.links.inUse, l)
	spare := e.links.superfluous()
	e.mu.Unlock()
	if last {
		_ = l.conn.Close()
	}
	if spare != nil {
		e.retire(spare)
	}
}

// retire takes l out of use for new streams.
func (e *Dialer) retire(l *link) {
	l.end()
	e.mu.Lock()
	e.links.drop(l)
	idle := l.streams == 0
	e.mu.Unlock()
	if idle {
		_ = l.conn.Close()
	}
}
