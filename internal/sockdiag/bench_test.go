// SPDX-License-Identifier: Apache-2.0

package sockdiag_test

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
)

// BenchmarkLookup measures the cost per connection that its app closes.
func BenchmarkLookup(b *testing.B) {
	b.ReportAllocs()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	local, remote := addrPort(client.LocalAddr()), addrPort(client.RemoteAddr())
	if err := client.Close(); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadAll(server); err != nil { // returns at the FIN
		b.Fatal(err)
	}
	for b.Loop() {
		state, err := sockdiag.Lookup(local, remote)
		if err != nil || state != sockdiag.Orphan {
			b.Fatal(state, err)
		}
	}
}

// BenchmarkSearch measures the cost of a connection that its app closes and whose port
// conntrack has changed, in a pod with thousands of other connections.
func BenchmarkSearch(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for range 4000 {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer server.Close()
	}
	remote := addrPort(l.Addr())
	remapped := netip.AddrPortFrom(remote.Addr(), 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sockdiag.Search(remapped, remote, func(uint16) bool { return false }); err != nil {
			b.Fatal(err)
		}
	}
}
