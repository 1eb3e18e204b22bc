// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestShortage: a lack of this process does not count against the server, and has a
// text of its own. An error that only looks like one counts.
func TestShortage(t *testing.T) {
	tcp, socket := tunnel.Server{Name: "s", Network: "tcp", Address: "s:8090"}, tunnel.Server{Name: "s", Network: tunnel.NetworkUnix, Address: "/s"}
	for _, tc := range []struct {
		server tunnel.Server
		errno  syscall.Errno
		reason tunnel.Reason
		ours   bool
		words  string
	}{
		{tcp, unix.EMFILE, tunnel.ReasonMaxConnections, true, "open files"},
		{tcp, unix.ENFILE, tunnel.ReasonMaxConnections, true, "open files"},
		{tcp, unix.ENOMEM, tunnel.ReasonMaxConnections, true, "memory"},
		{tcp, unix.ENOBUFS, tunnel.ReasonMaxConnections, true, "memory"},
		{tcp, unix.EADDRNOTAVAIL, tunnel.ReasonNoPort, true, "ip_local_port_range"},
		{tcp, unix.EAGAIN, tunnel.ReasonNoPort, true, "ip_local_port_range"},
		{socket, unix.EAGAIN, tunnel.ReasonServerUnreachable, false, "temporarily unavailable"},
		{socket, unix.EMFILE, tunnel.ReasonMaxConnections, true, "open files"},
		{tcp, unix.ECONNREFUSED, tunnel.ReasonServerUnreachable, false, "refused"},
		{tcp, unix.EHOSTUNREACH, tunnel.ReasonServerUnreachable, false, "no route"},
	} {
		err := serverconn.NewConnector(nil, options.SettingNames(), 0).Unreachable(t.Context(), tc.server, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", tc.errno)})
		if err.Reason != tc.reason || err.Fault.Ours() != tc.ours || !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%s, %s: %s, ours: %v (%v); want %s, ours: %v, and the words %q", tc.server.Network, tc.errno, err.Reason, err.Fault.Ours(), err, tc.reason, tc.ours, tc.words)
		}
		if got := verdictOn(err, false); tc.ours && got != inconclusive {
			t.Errorf("%s: the dial is held against the server", tc.errno)
		}
	}
}

// limitPorts gives a socket two local ports (IP_LOCAL_PORT_RANGE, ip(7)).
func limitPorts(_, _ string, c syscall.RawConn) error {
	const localPortRange, first, last = 51, 47110, 47111
	var serr error
	err := c.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, localPortRange, last<<16|first)
	})
	return errors.Join(err, serr)
}

// TestNoPortsLeft: a dial for which there is no local port waits for one within its
// budget, and says what is missing. It does not count against the server.
func TestNoPortsLeft(t *testing.T) {
	p := newPKI(t)
	server := p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		write(establishedLine)(c)
		_, _ = io.Copy(io.Discard, c)
	})
	var held []net.Conn
	for {
		conn, err := (&net.Dialer{Control: limitPorts}).Dial("tcp", server.Address)
		if err != nil {
			if !errors.Is(err, unix.EADDRNOTAVAIL) {
				t.Fatalf("taking all local ports: %v", err)
			}
			break
		}
		held = append(held, conn)
	}
	d := newDialer(t, p.client(), time.Second, server)
	e := d.endpoint(t)
	d.Dialer.connect = func(ctx context.Context, e *endpoint, alpn []string) (net.Conn, string, *tunnel.Error) {
		raw, err := (&net.Dialer{Control: limitPorts}).DialContext(ctx, "tcp", e.Addr.String())
		if err != nil {
			return nil, "", e.Unreachable(ctx, err)
		}
		_ = raw.Close()
		return connectTo(ctx, e, alpn)
	}
	if _, err := d.dial(t); tunnel.ReasonOf(err) != tunnel.ReasonNoPort || !strings.Contains(err.Error(), "ip_local_port_range") {
		t.Errorf("the dial ended with %s: %v; want %s and what to widen", tunnel.ReasonOf(err), err, tunnel.ReasonNoPort)
	}
	if err := e.Check(t.Context()); err == nil || err.Reason != tunnel.ReasonNoPort {
		t.Errorf("the check says %v, want %s", err, tunnel.ReasonNoPort)
	}
	e.mu.Lock()
	if e.aside.failures != 0 {
		t.Error("the server is set aside for our own lack of ports")
	}
	e.mu.Unlock()
	for _, conn := range held {
		must(t, conn.(*net.TCPConn).SetLinger(0)) // so that there is no TIME_WAIT
		must(t, conn.Close())
	}
	var conn tunnel.Conn
	waittest.Eventually(t, "a dial that succeeds, now that there are ports again", func() (ok bool) {
		var err error
		conn, err = d.dial(t)
		return err == nil
	})
	must(t, conn.Close())
	if up := testutil.ToFloat64(d.metrics.failovers); up != 0 {
		t.Errorf("%v failovers, with one server", up)
	}
}

// TestServerEndsFirst: if we close a connection, the server is the first to end it, so
// that our local port is free at once.
func TestServerEndsFirst(t *testing.T) {
	p := newPKI(t)
	from := make(chan [2]net.Addr, 1) // our end and the server's
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		from <- [2]net.Addr{c.RemoteAddr(), c.LocalAddr()}
		write(establishedLine)(c)
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close() // as upstream's Tunnel does
	}))
	conn, err := d.dial(t)
	must(t, err)
	ends := <-from
	must(t, conn.Close())
	const timeWait = "06"
	waittest.Eventually(t, "that the port is free", func() bool {
		state := socketOf(t, ends[0], ends[1])
		if state == timeWait {
			t.Fatalf("our end of %s is in TIME_WAIT: the server was not the first", ends[0])
		}
		return state == ""
	})
}

// socketOf returns the state of the socket between two IPv4 addresses, from
// /proc/net/tcp, or nothing if there is none. The port alone is not enough, because
// another process may get it once it is free.
func socketOf(t *testing.T, local, remote net.Addr) string {
	t.Helper()
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	must(t, err)
	inTable := func(a net.Addr) string {
		addr := a.(*net.TCPAddr)
		ip := addr.IP.To4()
		return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], addr.Port)
	}
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[1] == inTable(local) && fields[2] == inTable(remote) {
			return fields[3]
		}
	}
	return ""
}
