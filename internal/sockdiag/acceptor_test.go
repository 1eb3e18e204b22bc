// SPDX-License-Identifier: Apache-2.0

package sockdiag_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
)

// TestAcceptor: the socket that has accepted a connection is found, also if it is one for
// both families. The connecting socket itself is not taken for it.
func TestAcceptor(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", ":0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addrPort(l.Addr()).Port())
			if address == "[::1]:0" {
				to = addrPort(l.Addr())
			}
			conn, err := net.Dial("tcp", to.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			got, found, err := sockdiag.Acceptor(addrPort(conn.LocalAddr()))
			if err != nil || !found || got != to {
				t.Errorf("got %v, %t, %v; want %v", got, found, err, to)
			}
			// To the kernel, the connecting socket is the other end of the accepted one.
			got, found, err = sockdiag.Acceptor(addrPort(l.Addr()))
			if err != nil || found && got != addrPort(conn.LocalAddr()) {
				t.Errorf("of the other direction got %v, %t, %v", got, found, err)
			}
		})
	}
}

func TestAcceptorOutsideOfTheNamespace(t *testing.T) {
	if got, found, err := sockdiag.Acceptor(netip.MustParseAddrPort("192.0.2.7:41000")); err != nil || found {
		t.Errorf("no socket has this peer, and %v was found (%v)", got, err)
	}
}
