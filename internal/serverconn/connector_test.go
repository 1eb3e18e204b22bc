// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestKeepaliveOfServerConnections: the kernel asks as often as configured. A moment
// without packets ends no connection on which nothing is being sent. By default a dead
// server is noticed there as soon as on the others.
func TestKeepaliveOfServerConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	for _, idle := range []time.Duration{5 * time.Second, 42 * time.Second} {
		e := NewConnector(nil, tunnel.SettingNames{}, idle).Endpoint(tunnel.Server{}, netip.MustParseAddrPort(l.Addr().String()))
		conn, err := e.ConnectTCP(t.Context(), false)
		must(t, err)
		got := map[string]int{}
		must(t, conn.(*watchedConn).raw.Control(func(fd uintptr) {
			for name, option := range map[string][2]int{
				"on": {unix.SOL_SOCKET, unix.SO_KEEPALIVE}, "idle": {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
				"interval": {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}, "count": {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
				"user timeout": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
			} {
				got[name], err = unix.GetsockoptInt(int(fd), option[0], option[1])
				must(t, err)
			}
		}))
		must(t, conn.Close())
		want := map[string]int{"on": 1, "idle": int(idle.Seconds()), "interval": 1, "count": 5, "user timeout": 0}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("keepalive of %s (-want +got):\n%s", idle, diff)
		}
	}
	usual := keepalive(options.NewProxyClient().ServerKeepalive)
	if noticed := usual.Idle + time.Duration(usual.Count)*usual.Interval; noticed != ackTimeout {
		t.Errorf("by default a dead server is noticed after %s, want %s", noticed, ackTimeout)
	}
	if forgiven := time.Duration(usual.Count-1) * usual.Interval; forgiven < 4*time.Second {
		t.Errorf("%s without packets are forgiven, want 4s at least", forgiven)
	}
}
