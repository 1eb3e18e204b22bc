// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// minBackoff and maxBackoff are the shortest and the longest pause after a failed
	// accept.
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// Listen listens on all of addrs, or on none. Its error names the address that failed,
// and says what to do, with the names of settings.
func Listen(ctx context.Context, addrs []netip.AddrPort, names tunnel.SettingNames) ([]*net.TCPListener, error) {
	// Connections inherit the options of their listener, so that each needs no system
	// call, except for its idle time.
	lc := net.ListenConfig{KeepAlive: -1, Control: setKeepalive}
	// Go listens for Multipath TCP by default. The kernel does not report the original
	// destination of an MPTCP socket. Without MPTCP on the listener, apps use plain
	// TCP.
	lc.SetMultipathTCP(false)
	var listeners []*net.TCPListener
	for _, addr := range addrs {
		network := "tcp4"
		if addr.Addr().Is6() {
			network = "tcp6"
		}
		ln, err := lc.Listen(ctx, network, addr.String())
		if err != nil {
			for _, ln := range listeners {
				ln.Close() //nolint:errcheck // nothing was accepted on it
			}
			return nil, fmt.Errorf("%w: %s", err, advice(err, addr, names))
		}
		listeners = append(listeners, ln.(*net.TCPListener))
	}
	return listeners, nil
}

// Apps are on this machine, but one can still vanish without our kernel knowing. That
// happens if conntrack loses the entry of a redirected connection: the entry was
// deleted, the table was flushed, or the connection was idle for longer than
// nf_conntrack_tcp_timeout_established. Then nothing that the app sends reaches its
// connection any more, not even FIN. The app's kernel does not recognise what we send
// as the target's.
//
// Measured: in IPv4 it answers a keepalive probe with RST, which ends the connection
// after the idle time. In IPv6 it does not answer, and our kernel gives up six
// intervals later. Before that, keepalive probes keep the entry of an idle connection
// from expiring: the idle time is far below any usual value of that timeout.
//
// Probes can also be lost on a machine that is well: sockio.SpreadIdle says how. So each
// connection has an idle time of its own, and six probes must be lost in a row.
const (
	shortestKeepaliveIdle = 40 * time.Second
	longestKeepaliveIdle  = 60 * time.Second
	keepaliveInterval     = 10 * time.Second
	keepaliveCount        = 6
)

// keepaliveIdle returns the idle time of one connection.
func keepaliveIdle() time.Duration {
	return sockio.SpreadIdle(shortestKeepaliveIdle, longestKeepaliveIdle)
}

// setKeepalive enables keepalive (tcp(7)) for a listener's connections.
func setKeepalive(_, _ string, c syscall.RawConn) error {
	return sockio.Control(c, func(fd int) error {
		return errors.Join(
			os.NewSyscallError("setsockopt SO_KEEPALIVE", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)),
			os.NewSyscallError("setsockopt TCP_KEEPIDLE", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(longestKeepaliveIdle/time.Second))),
			os.NewSyscallError("setsockopt TCP_KEEPINTVL", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepaliveInterval/time.Second))),
			os.NewSyscallError("setsockopt TCP_KEEPCNT", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepaliveCount)),
		)
	})
}

// advice returns what to do if addr cannot be listened on.
func advice(err error, addr netip.AddrPort, names tunnel.SettingNames) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Sprintf("another process of this pod, or another proxy-client, has port %d; end it, or give proxy-client another %s and init-redirect the same port as %s", addr.Port(), names.ListenAddress, names.ProxyPort)
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Sprintf("the pod does not have %s; enable its IP family, or leave that family's shoot CIDRs and %s out", addr.Addr(), names.ListenAddress)
	case errors.Is(err, unix.EACCES):
		return fmt.Sprintf("ports below 1024 are for privileged processes; choose another %s and init-redirect's %s", names.ListenAddress, names.ProxyPort)
	default:
		return "choose another " + names.ListenAddress
	}
}

// acceptor is the part of *net.TCPListener that accept uses.
type acceptor interface {
	AcceptTCP() (*net.TCPConn, error)
}

// accept passes ln's connections to handle, which must not block, until ctx ends. The
// caller that ends ctx must also close ln.
//
// A failed accept does not end the loop, because its causes are temporary: too many
// open files, no memory. Meanwhile the kernel keeps the connection in its queue, and
// the next accept fails at once. So each failure in a row doubles the pause.
func accept(ctx context.Context, ln acceptor, addr net.Addr, handle func(*net.TCPConn), log *slog.Logger) error {
	pause := minBackoff
	var failing limitedWarning
	for {
		app, err := ln.AcceptTCP()
		if err == nil {
			pause = minBackoff
			handle(app)
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %s: %w", addr, err)
		}
		if failures, due := failing.add(time.Now()); due {
			log.Warn("cannot accept connections, trying on; they wait meanwhile", "listener", addr.String(), "failures", failures, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, maxBackoff)
	}
}
