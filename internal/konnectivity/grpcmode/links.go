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
	// linksAtOnce is how many links are made at the same time for dials that found the
	// others full. The server has to do as many TLS handshakes.
	linksAtOnce = 8
)

var (
	errNoStreams    = errors.New("it allows no streams (SETTINGS_MAX_CONCURRENT_STREAMS is 0): look at the limits of the proxy-server, or of what is in front of it")
	errOtherKind    = errors.New("a further connection to it was not HTTP/2, as the first was")
	errLeaves       = errors.New("it has ended a further connection to it at once")
	errLost         = errors.New("connection lost")
	errLinksTooSlow = errors.New("its connections carry as many streams as it allows, and no further connection was ready in time")
)

// links are the connections to an endpoint in gRPC mode. One link carries all streams,
// if the server allows so many on one. Otherwise a dial that finds all links full waits
// for room, or for a further link that is made at once.
//
// Dialer.mu guards its fields. The zero value has no links.
type links struct {
	inUse   []*link     // for new streams, oldest first
	making  int         // further links that are being made
	waiting []chan slot // dials that found no room, in the order in which they came
}

// slot is room for a stream on a link, or the error of a dial that gets none.
type slot struct {
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

// withRoom returns the first link with room for a stream, or nil. Because it prefers
// the first, the later links become idle before the earlier ones.
func (k *links) withRoom(files int) *link {
	for _, l := range k.inUse {
		if l.usable(files) && l.room() > 0 {
			return l
		}
	}
	return nil
}

// streamsPerLink returns how many streams a further link is likely to carry.
func (k *links) streamsPerLink() int {
	if len(k.inUse) == 0 {
		return 1
	}
	return max(1, k.inUse[len(k.inUse)-1].conn.Limit())
}

// grantSlots gives the room that there is to the dials that wait.
func (k *links) grantSlots(files int) {
	for len(k.waiting) > 0 {
		l := k.withRoom(files)
		if l == nil {
			return
		}
		l.streams++
		k.waiting[0] <- slot{link: l}
		k.waiting = k.waiting[1:]
	}
}

// refuseWaiting gives err to the dials for which no link is being made.
func (k *links) refuseWaiting(err *tunnel.Error) {
	served := 0
	if k.making > 0 {
		served = min(len(k.waiting), k.making*k.streamsPerLink())
	}
	for _, w := range k.waiting[served:] {
		w <- slot{err: err}
	}
	k.waiting = k.waiting[:served:served]
}

// remove takes l out of use.
func (k *links) remove(l *link) {
	if i := slices.Index(k.inUse, l); i >= 0 {
		k.inUse = slices.Delete(k.inUse, i, i+1)
	}
}

// takeSurplus takes one idle link out of use and returns it, if the others have room
// for half of what it could carry. Otherwise it returns nil.
func (k *links) takeSurplus() *link {
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
			k.remove(idle)
			return idle
		}
	}
	return nil
}

// usable returns the link for new streams, full or not, or nil if another is needed.
func (d *Dialer) usable() *link {
	files := d.shared.Files()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.links.usable(files)
}

// reserve returns a link with room for one more stream, which the caller gives back by
// release. It returns nil if there is no link at all. If all links are full, it waits.
func (d *Dialer) reserve(ctx context.Context) (*link, *tunnel.Error) {
	files := d.shared.Files()
	d.mu.Lock()
	if d.links.usable(files) == nil {
		d.mu.Unlock()
		return nil, nil
	}
	if l := d.links.withRoom(files); l != nil {
		l.streams++
		d.mu.Unlock()
		return l, nil
	}
	wait := make(chan slot, 1)
	d.links.waiting = append(d.links.waiting, wait)
	d.addLinks()
	d.mu.Unlock()
	select {
	case s := <-wait:
		return s.link, s.err
	case <-ctx.Done():
		d.stopWaiting(wait)
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, &tunnel.Error{Reason: tunnel.ReasonCancelled, Server: d.Server.Name, Err: errLinksTooSlow}
		}
		return nil, &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: d.Server.Name, Err: errLinksTooSlow, Fault: tunnel.FaultServer}
	}
}

// stopWaiting ends a wait for room.
func (d *Dialer) stopWaiting(wait chan slot) {
	d.mu.Lock()
	if i := slices.Index(d.links.waiting, wait); i >= 0 {
		d.links.waiting = slices.Delete(d.links.waiting, i, i+1)
		d.mu.Unlock()
		return
	}
	d.mu.Unlock()
	if s := <-wait; s.link != nil {
		d.release(s.link)
	}
}

// addLinks starts to make as many links as the waiting dials need. The caller holds mu.
func (d *Dialer) addLinks() {
	k := &d.links
	for k.making < linksAtOnce && k.making*k.streamsPerLink() < len(k.waiting) {
		if !d.shared.Quota.Room(linkMemory) || !d.shared.AffordsFile() {
			k.refuseWaiting(&tunnel.Error{
				Reason: tunnel.ReasonMaxConnections, Server: d.Server.Name, Fault: tunnel.FaultProcess,
				Err: fmt.Errorf("the server allows %d streams on a connection, and there are too few files for another connection: raise the container's limit of open files, or what the server allows", k.streamsPerLink()),
			})
			return
		}
		k.making++
		d.shared.Background.Go(d.addLink)
	}
}

// addLink makes one more link. A failure does not mean that the server cannot be
// reached, which only a check may say.
func (d *Dialer) addLink() {
	ctx, cancel := context.WithTimeout(d.owner.Gone(), serverconn.CheckTimeout)
	defer cancel()
	l, err := d.connectLink(ctx)
	if err != nil && d.owner.Gone().Err() != nil {
		err = d.owner.GoneError() // this was not the decision of the app
	}
	files := d.shared.Files()
	var leaving []*link
	d.mu.Lock()
	d.links.making--
	if err == nil && l.over.Err() != nil {
		err = &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: d.Server.Name, Err: errLeaves, Fault: tunnel.FaultServer}
	}
	if err == nil {
		leaving = d.admit(l, files)
		d.addLinks()
	} else {
		d.links.refuseWaiting(err)
	}
	// Meanwhile dials may have found room on other links, or have been given up.
	for spare := d.links.takeSurplus(); spare != nil; spare = d.links.takeSurplus() {
		leaving = append(leaving, spare)
	}
	d.mu.Unlock()
	for _, l := range leaving {
		d.retire(l)
	}
}

// connectLink connects and starts a further link. A check has found out before which
// server it is.
func (d *Dialer) connectLink(ctx context.Context) (*link, *tunnel.Error) {
	files := d.shared.Files()
	conn, alpn, err := d.owner.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if d.Server.Mode == tunnel.ModeAuto && alpn == serverconn.ALPNHTTP1 {
		_ = conn.Close()
		return nil, d.Unreachable(ctx, errOtherKind)
	}
	l, err := d.startLink(ctx, conn, files)
	if err == nil && l.conn.Limit() == 0 {
		l.end()
		return nil, &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: d.Server.Name, Err: errNoStreams, Fault: tunnel.FaultServer}
	}
	return l, err
}

// admit puts l into use, first for the dials that wait. It returns the links that are
// to be retired, because they have other files. The caller holds mu.
func (d *Dialer) admit(l *link, files int) (old []*link) {
	for _, other := range d.links.inUse {
		if other.files != files {
			old = append(old, other)
		}
	}
	if l.over.Err() == nil {
		d.links.inUse = append(d.links.inUse, l)
	}
	d.links.grantSlots(files)
	return old
}

// grantWaiting gives dials that wait the room that the server now allows.
func (d *Dialer) grantWaiting() {
	files := d.shared.Files()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.links.grantSlots(files)
}

// release gives back the room that reserve has returned.
func (d *Dialer) release(l *link) {
	d.mu.Lock()
	l.streams--
	if len(d.links.waiting) > 0 {
		d.links.grantSlots(d.shared.Files())
	}
	last := l.streams == 0 && !slices.Contains(d.links.inUse, l)
	spare := d.links.takeSurplus()
	d.mu.Unlock()
	if last {
		_ = l.conn.Close()
	}
	if spare != nil {
		d.retire(spare)
	}
}

// retire takes l out of use for new streams.
func (d *Dialer) retire(l *link) {
	l.end()
	d.mu.Lock()
	d.links.remove(l)
	idle := l.streams == 0
	d.mu.Unlock()
	if idle {
		_ = l.conn.Close()
	}
}
