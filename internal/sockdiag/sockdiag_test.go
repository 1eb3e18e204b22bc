// SPDX-License-Identifier: Apache-2.0

package sockdiag_test

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
)

// TestLookup follows a client's socket through open, half-closed and closed, as
// its server sees nothing but the same FIN.
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
					check(t, "while open", local, remote, sockdiag.Owned)
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
