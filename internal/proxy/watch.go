// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// watchApp returns a context that ends with ctx, and also as soon as the app
// gives up on its connection. It reads nothing: what the app has sent already
// stays in the socket for the relay.
//
// stop must be called exactly once, before app is used in any other way or
// closed. It waits for the watcher, leaves app as it was, and reports whether
// the app gave up.
func watchApp(ctx context.Context, app *net.TCPConn) (_ context.Context, stop func() (gone bool)) {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan bool, 1)
	go func() {
		gone := waitGone(app)
		if gone {
			cancel()
		}
		result <- gone
	}()
	return ctx, func() bool {
		// A deadline in the past ends the watcher's wait, and nothing else
		// waits on app yet. Errors mean that app is closed, which ends it too.
		_ = app.SetReadDeadline(time.Unix(1, 0))
		gone := <-result
		_ = app.SetReadDeadline(time.Time{})
		cancel()
		return gone
	}
}

// waitGone returns true once the app reset its connection, false once app's
// read deadline passed or app was closed.
func waitGone(app *net.TCPConn) bool {
	raw, err := app.SyscallConn()
	if err != nil {
		return false
	}
	// Read calls the function, and again after each event on the socket (data,
	// FIN, RST) for as long as it returns false. It holds app's read lock, but
	// takes no byte.
	return raw.Read(func(fd uintptr) bool { return isGone(int(fd)) }) == nil
}

// isGone reports whether the connection is over in both directions, which
// before our own FIN only a reset does to it.
//
// A mere FIN must not count: an app that sends its request and closes its
// sending side at once (`echo … | nc -N`) is waiting for the answer, and one
// that sends and closes (statsd, graphite) still wants its bytes delivered. A
// FIN shows as POLLRDHUP, for which we do not ask; POLLHUP and POLLERR are
// reported without asking.
func isGone(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	for {
		_, err := unix.Poll(fds, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	}
}
