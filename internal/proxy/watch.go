// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

const (
	// watchAfter is how long a dial lasts until its app is watched. Most are over
	// by then, and their apps have to be looked at only once.
	watchAfter = 50 * time.Millisecond
	// appAskInterval is how often an app that has sent FIN, and nothing else, is
	// looked at.
	appAskInterval = 250 * time.Millisecond
)

// appWatch waits for an app to give up on its connection while that is dialled.
type appWatch struct {
	app     *net.TCPConn
	giveUp  context.CancelFunc    // called when it has
	state   func() relay.AppState // what became of an app that sent FIN
	timer   *time.Timer           // begins the watching
	stopped chan struct{}
	result  chan bool
}

// watchApp calls giveUp when the app has given up on its connection. It reads
// nothing: what the app has sent already stays in the socket for the relay. state
// tells what became of an app that sent FIN.
//
// stop must be called exactly once, before app is used in any other way or closed.
func watchApp(app *net.TCPConn, giveUp context.CancelFunc, state func() relay.AppState) *appWatch {
	w := &appWatch{app: app, giveUp: giveUp, state: state}
	w.stopped, w.result = make(chan struct{}), make(chan bool, 1)
	w.timer = time.AfterFunc(watchAfter, w.run)
	return w
}

func (w *appWatch) run() {
	gone := w.wait()
	if gone {
		w.giveUp()
	}
	w.result <- gone
}

// stop ends the watching, leaves app as it was, and reports whether the app gave
// up.
func (w *appWatch) stop() (gone bool) {
	if w.timer.Stop() {
		return w.look()
	}
	close(w.stopped)
	// A deadline in the past ends the watcher's wait, and nothing else waits on
	// app yet. Errors mean that app is closed, which ends it too.
	_ = w.app.SetReadDeadline(time.Unix(1, 0))
	gone = <-w.result
	_ = w.app.SetReadDeadline(time.Time{})
	return gone
}

// look reports whether the app has given up by now.
func (w *appWatch) look() (gone bool) {
	raw, err := w.app.SyscallConn()
	if err != nil {
		return false
	}
	s := socketOpen
	err = raw.Control(func(fd uintptr) { s = look(int(fd)) })
	return err == nil && w.gone(s)
}

func (w *appWatch) gone(s socketState) bool {
	return s == socketReset || s == socketFinished && w.state() == relay.AppGone
}

// wait returns true once the app has given up, false once stop was called.
func (w *appWatch) wait() bool {
	raw, err := w.app.SyscallConn()
	if err != nil {
		return false
	}
	// Read calls the function, and again after each event on the socket (data,
	// FIN, RST) for as long as it returns false. It holds app's read lock, but
	// takes no byte.
	var s socketState
	err = raw.Read(func(fd uintptr) bool {
		s = look(int(fd))
		return s != socketOpen
	})
	for err == nil {
		if w.gone(s) {
			return true
		}
		// The kernel sends FIN a moment before it makes the app's socket an
		// orphan, and an app that half-closes may close later. No event on our
		// side tells of either.
		select {
		case <-w.stopped:
			return false
		case <-time.After(appAskInterval):
		}
		err = raw.Control(func(fd uintptr) { s = look(int(fd)) })
	}
	return false
}

// socketState is what can be told of an app from our side of its connection.
type socketState int

const (
	socketOpen     socketState = iota // or finished with bytes to deliver
	socketFinished                    // FIN, and not one byte before it
	socketReset                       // over in both directions
)

// look returns the state of a socket of which nothing was read.
//
// Before our own FIN, only a reset ends both directions (POLLHUP, POLLERR). A
// FIN alone must not cancel a dial: an app that sends its request and shuts
// down its sending side (`echo … | nc -N`) waits for the answer, and one that
// sends and closes (statsd, graphite) wants its bytes delivered. Only where a
// FIN came with nothing to deliver is it worth asking whether anybody still
// reads.
func look(fd int) socketState {
	events, err := sockio.Poll(fd, unix.POLLRDHUP)
	if err != nil {
		return socketOpen
	}
	if events&(unix.POLLHUP|unix.POLLERR) != 0 {
		return socketReset
	}
	if events&unix.POLLRDHUP != 0 {
		if unread, err := sockio.Unread(fd); err == nil && unread == 0 {
			return socketFinished
		}
	}
	return socketOpen
}
