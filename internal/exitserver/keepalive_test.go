// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// Targets that are dialled together are not probed together: a machine that has to send
// thousands of probes at once drops most of them. sockio.SpreadIdle says more.
func TestTargetsAreProbedAtDifferentTimes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const connections = 60
	times := map[int]int{}
	for range connections {
		conn, err := attempt(t.Context(), netip.MustParseAddrPort(ln.Addr().String()), 1)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var idle int
		err = sockio.Control(raw, func(fd int) (err error) {
			idle, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
			return err
		})
		conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		if idle < 20 || idle > 30 {
			t.Fatalf("a target is probed after %d s, want 20 to 30", idle)
		}
		times[idle]++
	}
	// 60 random choices out of 11 differ less than that once in 10^14 runs.
	if len(times) < 5 {
		t.Errorf("%d targets are probed after %d different times (s: targets): %v", connections, len(times), times)
	}
}
