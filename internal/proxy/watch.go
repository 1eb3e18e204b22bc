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
	// watchAfter is how long a dial runs before its app is watched. Most dials end
	// earlier, and then check looks at the app only once.
	watchAfter = 50 * time.Millisecond
	// appAskInterval is how often the state of an app is read that has sent FIN and no
	// bytes.
	appAskInterval = 250 * time.Millisecond
)

// appWatch notices that an app gives up its connection during the dial. It also passes on
// the app's first bytes, if the dial asks for them.
type appWatch struct {
	app        *net.TCPConn
	cancelDial context.CancelFunc    // called when it has given up
	state      func() relay.AppState // the state of an app that has sent FIN
	timer      *time.Timer           // starts run
	stopped    chan struct{}
	result     chan bool
	early      earlyBytes
}

// watchApp calls cancelDial when the app has given up its connection. It takes no
// bytes: what the app has sent stays in the socket. state returns the state of an app that
// has sent FIN.
//
// stop must be called exactly once, before app is used otherwise or closed.
func watchApp(app *net.TCPConn, cancelDial context.CancelFunc, state func() relay.AppState) *appWatch {
	w := &appWatch{app: app, cancelDial: cancelDial, state: state}
	w.stopped, w.result = make(chan struct{}), make(chan bool, 1)
	w.timer = time.AfterFunc(watchAfter, w.run)
	return w
}

func (w *appWatch) run() {
	gone := w.wait()
	if gone {
		w.cancelDial()
	}
	w.result <- gone
}

// stop ends the watch, and leaves app as it was. It reports whether the app has given
// up.
func (w *appWatch) stop() (gone bool) {
	if w.timer.Stop() {
		return w.check()
	}
	close(w.stopped)
	// A past deadline ends the wait in run. No other goroutine waits on app yet. If
	// this fails, app is closed, which also ends the wait.
	_ = w.app.SetReadDeadline(time.Unix(1, 0))
	gone = <-w.result || w.check() // it may have ended before it has looked
	_ = w.app.SetReadDeadline(time.Time{})
	return gone
}

// check reports whether the app has given up by now.
func (w *appWatch) check() (gone bool) {
	raw, err := w.app.SyscallConn()
	if err != nil {
		return false
	}
	s := socketOpen
	err = raw.Control(func(fd uintptr) { s = socketStateOf(int(fd)) })
	return err == nil && w.gone(s)
}

func (w *appWatch) gone(s socketState) bool {
	return s == socketReset || s == socketFinished && w.state() == relay.AppGone
}

// wait returns true when the app has given up, and false after stop was called.
func (w *appWatch) wait() bool {
	raw, err := w.app.SyscallConn()
	if err != nil {
		return false
	}
	// Read calls the function, and calls it again after each event on the socket (data,
	// FIN, RST) while it returns false. It holds app's read lock, but reads no byte.
	var s socketState
	err = raw.Read(func(fd uintptr) bool {
		w.early.offer(int(fd))
		s = socketStateOf(int(fd))
		return s != socketOpen
	})
	for err == nil {
		if w.gone(s) {
			return true
		}
		// The kernel sends FIN shortly before it makes the app's socket an orphan, and
		// an app that half-closes may close later. Neither causes an event on our side.
		select {
		case <-w.stopped:
			return false
		case <-time.After(appAskInterval):
		}
		err = raw.Control(func(fd uintptr) { s = socketStateOf(int(fd)) })
	}
	return false
}

// socketState is what our end of a connection shows about the app.
type socketState int

const (
	socketOpen     socketState = iota // or finished, with bytes to deliver
	socketFinished                    // FIN, and not one byte before it
	socketReset                       // ended in both directions
)

// socketStateOf returns the state of a socket from which nothing was read.
//
// Before our own FIN, only a reset ends both directions (POLLHUP, POLLERR). FIN alone
// must not cancel a dial. An app that sends its request and shuts down its sending side
// (`echo … | nc -N`) waits for the answer. An app that sends and closes (statsd,
// graphite) wants its bytes delivered. Only if FIN came without bytes does it matter
// whether the app still reads.
func socketStateOf(fd int) socketState {
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
