// SPDX-License-Identifier: Apache-2.0

package sockdiag_test

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
)

// TestLookup follows a client's socket through open, half-closed and closed. The server
// sees the same FIN in the last two.
func TestLookup(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Skipf("SKIPPED: no loopback address of this family: %v", err)
			}
			defer l.Close()
			for _, tc := range []struct {
				name string
				end  func(*net.TCPConn) error
				want sockdiag.State
			}{
				{"closed", (*net.TCPConn).Close, sockdiag.Orphan},
				{"half-closed", (*net.TCPConn).CloseWrite, sockdiag.Owned},
			} {
				t.Run(tc.name, func(t *testing.T) {
					client, server := pair(t, l)
					local, remote := addrPort(client.LocalAddr()), addrPort(client.RemoteAddr())
					check(t, "while open, so not the one that is meant", local, remote, sockdiag.Unknown)
					if err := tc.end(client); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadAll(server); err != nil { // returns at the FIN
						t.Fatal(err)
					}
					check(t, "after the FIN", local, remote, tc.want)
				})
			}
		})
	}
}

func TestLookupOfNoSocket(t *testing.T) {
	check(t, "never opened", netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2"), sockdiag.Unknown)
	check(t, "never opened", netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("[::1]:2"), sockdiag.Unknown)
}

// TestSearch distinguishes sockets to one destination that have sent FIN by everything
// except the port.
func TestSearch(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Skipf("SKIPPED: no loopback address of this family: %v", err)
			}
			defer l.Close()
			remote := addrPort(l.Addr())
			remapped := netip.AddrPortFrom(remote.Addr(), 1) // as conntrack would have changed the port
			none := func(uint16) bool { return false }
			search := func(when string, known func(uint16) bool, want sockdiag.State) {
				t.Helper()
				got, err := sockdiag.Search(remapped, remote, known)
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Errorf("%s: state %d, want %d", when, got, want)
				}
			}
			open, _ := pair(t, l)
			search("one is open, and has sent nothing", none, sockdiag.Orphan)

			half, server := pair(t, l)
			if err := half.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(server)
			search("one is half-closed", none, sockdiag.Owned)
			isHalf := func(port uint16) bool { return port == addrPort(half.LocalAddr()).Port() }
			search("the half-closed one is most likely another's", isHalf, sockdiag.Unknown)

			closed, server := pair(t, l)
			_ = closed.Close()
			_, _ = io.ReadAll(server)
			search("one is half-closed, one closed", none, sockdiag.Unknown)
			search("one is closed, the other another's", isHalf, sockdiag.Orphan)
			check(t, "open all the while", addrPort(open.LocalAddr()), remote, sockdiag.Unknown)
			check(t, "half-closed", addrPort(half.LocalAddr()), remote, sockdiag.Owned)
		})
	}
}

func check(t *testing.T, when string, local, remote netip.AddrPort, want sockdiag.State) {
	t.Helper()
	got, err := sockdiag.Lookup(local, remote)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s: state of the socket %s → %s: got %d, want %d", when, local, remote, got, want)
	}
}

func pair(t *testing.T, l net.Listener) (client, server *net.TCPConn) {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
