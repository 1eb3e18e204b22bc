// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/relay"
)

// appAskInterval is how often an app that has sent FIN, and nothing else, is
// looked at.
const appAskInterval = 250 * time.Millisecond

// watchApp returns a context that ends with ctx, and also as soon as the app
// gives up on its connection. It reads nothing: what the app has sent already
// stays in the socket for the relay. state tells what became of an app that
// sent FIN.
//
// stop must be called exactly once, before app is used in any other way or
// closed. It waits for the watcher, leaves app as it was, and reports whether
// the app gave up.
func watchApp(ctx context.Context, app *net.TCPConn, state func() relay.AppState) (_ context.Context, stop func() (gone bool)) {
	ctx, cancel := context.WithCancel(ctx)
	w := &appWatch{app: app, state: state, stopped: make(chan struct{}), result: make(chan bool, 1)}
	go func() {
		gone := w.wait()
		if gone {
			cancel()
		}
		w.result <- gone
	}()
	return ctx, func() bool {
		defer cancel()
		return w.stop()
	}
}

type appWatch struct {
	app     *net.TCPConn
	state   func() relay.AppState
	stopped chan struct{}
	result  chan bool
}

func (w *appWatch) stop() (gone bool) {
	close(w.stopped)
	// A deadline in the past ends the watcher's wait, and nothing else waits on
	// app yet. Errors mean that app is closed, which ends it too.
	_ = w.app.SetReadDeadline(time.Unix(1, 0))
	gone = <-w.result
	_ = w.app.SetReadDeadline(time.Time{})
	return gone
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
		if s == socketReset || s == socketFinished && w.state() == relay.AppGone {
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
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		_, err := unix.Poll(fds, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return socketOpen
		}
		break
	}
	events := fds[0].Revents
	if events&(unix.POLLHUP|unix.POLLERR) != 0 {
		return socketReset
	}
	if events&unix.POLLRDHUP != 0 {
		if unread, err := unix.IoctlGetInt(fd, unix.SIOCINQ); err == nil && unread == 0 {
			return socketFinished
		}
	}
	return socketOpen
}
