// SPDX-License-Identifier: Apache-2.0

//go:build linux

package origdst_test

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// hangGuard ends a test that would otherwise wait for ever. It says nothing about how fast the
// code should be.
const hangGuard = 20 * time.Second

const (
	target4 = "100.64.3.7:9100"
	target6 = "[2001:db8:64::7]:9100"
)

func TestLookupReturnsWhatTheAppAskedFor(t *testing.T) {
	netnstest.RequireRoot(t)
	tests := []struct {
		name            string
		network, listen string
		target          string
	}{
		{name: "IPv4 on an IPv4 listener", network: "tcp4", listen: "127.0.0.1:0", target: target4},
		{name: "IPv6 on an IPv6 listener", network: "tcp6", listen: "[::1]:0", target: target6},
		{name: "IPv4 on a dual-stack listener", network: "tcp", listen: "[::]:0", target: target4},
		{name: "IPv6 on a dual-stack listener", network: "tcp", listen: "[::]:0", target: target6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ns := netnstest.New(t)
			netnstest.Connect(t, ns, netnstest.New(t), netnstest.IPv4, netnstest.IPv6)
			ln := listen(t, ns, tt.network, tt.listen)
			redirect(t, ns, ln)
			conn := accept(t, ns, ln, tt.target)

			got, err := origdst.Lookup(conn)
			if err != nil {
				t.Fatalf("the destination of a redirected connection was not found: %v", err)
			}
			if want := netip.MustParseAddrPort(tt.target); got != want {
				t.Fatalf("the app asked for %s, but Lookup says %s", want, got)
			}
			// The socket must still work with the runtime's poller.
			if err := conn.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
				t.Fatal(err)
			}
			var netErr net.Error
			if _, err := conn.Read(make([]byte, 1)); !errors.As(err, &netErr) || !netErr.Timeout() {
				t.Fatalf("after Lookup the connection ignores its deadline: %v", err)
			}
		})
	}
}

func TestLookupRecognisesConnectionsThatWereNotRedirected(t *testing.T) {
	netnstest.RequireRoot(t)
	families := []struct{ name, network, listen, loopback string }{
		{"IPv4", "tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "tcp6", "[::1]:0", "::1"},
		{"IPv4 on dual-stack", "tcp", "[::]:0", "127.0.0.1"},
	}
	for _, f := range families {
		dialItself := func(t *testing.T, prepare func(*testing.T, *netnstest.NS, net.Listener)) {
			t.Helper()
			ns := netnstest.New(t)
			ln := listen(t, ns, f.network, f.listen)
			prepare(t, ns, ln)
			conn := accept(t, ns, ln, net.JoinHostPort(f.loopback, port(ln)))
			if got, err := origdst.Lookup(conn); !errors.Is(err, origdst.ErrNotRedirected) {
				t.Fatalf("a connection to the listener itself passes for a redirected one: %v, %v", got, err)
			}
		}
		t.Run(f.name+" without conntrack", func(t *testing.T) {
			dialItself(t, func(*testing.T, *netnstest.NS, net.Listener) {})
		})
		t.Run(f.name+" with conntrack", func(t *testing.T) {
			dialItself(t, redirect)
		})
		t.Run(f.name+" exempt from conntrack", func(t *testing.T) {
			dialItself(t, func(t *testing.T, ns *netnstest.NS, ln net.Listener) {
				redirect(t, ns, ln)
				for _, iptables := range []string{"iptables", "ip6tables"} {
					ns.Run(t, iptables, "-w", "-t", "raw", "-A", "OUTPUT", "-p", "tcp", "-j", "NOTRACK")
				}
			})
		})
	}
}

func TestLookupOnSocketsItCannotServe(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		conn, err := net.Dial("tcp4", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if _, err := origdst.Lookup(conn.(*net.TCPConn)); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("a closed socket should say so, got %v", err)
		}
	})
	t.Run("Unix", func(t *testing.T) {
		ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		_, err = origdst.Lookup(ln.(*net.UnixListener))
		if err == nil || errors.Is(err, origdst.ErrNotRedirected) {
			t.Fatalf("a Unix socket is a mistake of the caller, not a connection that was not redirected: got %v", err)
		}
	})
	t.Run("no SyscallConn", func(t *testing.T) {
		broken := errors.New("broken")
		if _, err := origdst.Lookup(noSyscallConn{broken}); !errors.Is(err, broken) {
			t.Fatalf("the cause was lost: %v", err)
		}
	})
}

type noSyscallConn struct{ err error }

func (c noSyscallConn) SyscallConn() (syscall.RawConn, error) { return nil, c.err }

// redirect adds rules that send connections to the targets to ln's port.
func redirect(t *testing.T, ns *netnstest.NS, ln net.Listener) {
	t.Helper()
	for iptables, cidr := range map[string]string{"iptables": "100.64.0.0/10", "ip6tables": "2001:db8:64::/48"} {
		ns.Run(t, iptables, "-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", cidr, "-j", "REDIRECT", "--to-ports", port(ln))
	}
}

func listen(t *testing.T, ns *netnstest.NS, network, address string) net.Listener {
	t.Helper()
	var (
		ln  net.Listener
		err error
	)
	ns.Do(t, func() { ln, err = net.Listen(network, address) })
	if err != nil {
		t.Fatalf("listen on %s: %v", address, err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// accept dials address inside the namespace, and returns the connection that ln accepts.
func accept(t *testing.T, ns *netnstest.NS, ln net.Listener, address string) *net.TCPConn {
	t.Helper()
	var (
		app net.Conn
		err error
	)
	ns.Do(t, func() { app, err = net.DialTimeout("tcp", address, hangGuard) })
	if err != nil {
		t.Fatalf("dial %s: %v", address, err)
	}
	t.Cleanup(func() { app.Close() })
	if err := ln.(*net.TCPListener).SetDeadline(time.Now().Add(hangGuard)); err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatalf("accept the connection to %s: %v", address, err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func port(ln net.Listener) string {
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}
