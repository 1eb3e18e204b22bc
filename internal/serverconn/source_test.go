// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestInAPodWithoutIPv6: the kernel's answer is EADDRNOTAVAIL also if the pod has a
// route and no address of a family. That is no lack of ports. The address is set aside
// like any that cannot be reached.
func TestInAPodWithoutIPv6(t *testing.T) {
	netnstest.RequireRoot(t)
	pod, router := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(t, pod, router, netnstest.IPv4)
	pod.Run(t, "ip", "-6", "address", "flush", "dev", "eth0")
	pod.Run(t, "ip", "-6", "address", "flush", "dev", "lo")
	pod.Run(t, "ip", "-6", "route", "add", "default", "dev", "eth0")
	server := tunnel.Server{Name: "s", Network: "tcp", Address: "[fdcc:99::1]:8090", Mode: tunnel.ModeGRPC}
	e := NewConnector(nil, tunnel.SettingNames{}, 5*time.Second).Endpoint(server, netip.MustParseAddrPort(server.Address))
	var bare, err error
	var source error
	pod.Do(t, func() {
		_, bare = net.Dial("tcp", server.Address)
		_, err = e.ConnectTCP(t.Context(), false)
		source = withoutPortErrno(netip.MustParseAddrPort("10.99.0.1:8090"), unix.EADDRNOTAVAIL)
	})
	if !errors.Is(bare, unix.EADDRNOTAVAIL) {
		t.Fatalf("the kernel says %v, so this proves nothing", bare)
	}
	if is := e.Unreachable(t.Context(), err); is.Reason != tunnel.ReasonServerUnreachable || is.Fault.Ours() || !strings.Contains(is.Error(), "no address") {
		t.Errorf("%s: %v; want %s and that there is no address", is.Reason, is, tunnel.ReasonServerUnreachable)
	}
	if source != error(unix.EADDRNOTAVAIL) {
		t.Errorf("a family that the pod has: %v, want the lack of a port", source)
	}
}
