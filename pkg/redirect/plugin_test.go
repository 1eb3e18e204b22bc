// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect_test

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// hangGuard ends a test that would otherwise wait for ever.
const hangGuard = 20 * time.Second

// The plugin of the example redirects a pod, with nothing but the two public packages.
func TestPluginOfTheExample(t *testing.T) {
	netnstest.RequireRoot(t)
	pod := netnstest.New(t)
	netnstest.Connect(t, pod, netnstest.New(t), netnstest.IPv4)
	netns := pod.Path()

	// Without a namespace the library works in that of its caller, which here is the pod's.
	pod.Do(t, func() {
		if err := add(t.Context(), ""); err == nil || errorCode(err) != 4 {
			t.Errorf("ADD without a namespace: got %v, want an error with code 4", err)
		}
		if err := check(t.Context(), ""); err == nil || errorCode(err) != 4 {
			t.Errorf("CHECK without a namespace: got %v, want an error with code 4", err)
		}
	})
	if err := check(t.Context(), netns); err == nil || errorCode(err) != 102 {
		t.Errorf("CHECK before ADD: got %v, want an error with code 102", err)
	}
	for range 2 {
		if err := add(t.Context(), netns); err != nil {
			t.Fatalf("ADD: %v", err)
		}
	}
	if err := check(t.Context(), netns); err != nil {
		t.Errorf("CHECK after ADD: %v", err)
	}
	if got, want := destination(t, pod, "100.64.3.7:9100"), netip.MustParseAddrPort("100.64.3.7:9100"); got != want {
		t.Errorf("the proxy is asked for %s, want %s", got, want)
	}
	if err := del(t.Context(), netns); err != nil {
		t.Errorf("DEL: %v", err)
	}
	if err := check(t.Context(), netns); err == nil {
		t.Error("CHECK passes after DEL")
	}
	for _, gone := range []string{"", filepath.Join(t.TempDir(), "gone")} {
		if err := del(t.Context(), gone); err != nil {
			t.Errorf("DEL of namespace %q, which is gone: %v", gone, err)
		}
	}
}

// destination dials target in the pod and returns what the proxy there is asked for.
func destination(t *testing.T, pod *netnstest.NS, target string) netip.AddrPort {
	t.Helper()
	var (
		listener net.Listener
		app      net.Conn
		err      error
	)
	pod.Do(t, func() { listener, err = net.Listen("tcp4", "127.0.0.1:14001") })
	if err != nil {
		t.Fatalf("listen as the proxy: %v", err)
	}
	defer listener.Close()
	pod.Do(t, func() { app, err = net.DialTimeout("tcp4", target, hangGuard) })
	if err != nil {
		t.Fatalf("dial %s: %v", target, err)
	}
	defer app.Close()
	if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(hangGuard)); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatalf("accept the connection to %s: %v", target, err)
	}
	defer conn.Close()
	asked, err := origdst.Lookup(conn.(*net.TCPConn))
	if err != nil {
		t.Fatalf("look up the destination: %v", err)
	}
	return asked
}
