// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// unsent is how many bytes are sent. A receiver that does not read accepts fewer, and the
// sender's buffer can hold them.
const unsent = 128 << 10

// listenSlow listens with a small receive buffer.
func listenSlow(t *testing.T, do func(testing.TB, func()), at netip.AddrPort) *net.TCPListener {
	t.Helper()
	var listener *net.TCPListener
	var err error
	do(t, func() { listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	raw, err := listener.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var setErr error
	if err := raw.Control(func(fd uintptr) { setErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) }); err != nil || setErr != nil {
		t.Fatal(err, setErr)
	}
	return listener
}

// uploadAndStay sends more bytes than the other side accepts, and returns both ends.
func (p pod) uploadAndStay(t *testing.T, listener *net.TCPListener, to netip.AddrPort) (app, far *net.TCPConn) {
	t.Helper()
	conn, err := p.dial(t, "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	app = conn.(*net.TCPConn)
	t.Cleanup(func() { app.Close() })
	_ = app.SetWriteBuffer(2 * unsent)
	_ = listener.SetDeadline(time.Now().Add(hang))
	if far, err = listener.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	_ = app.SetWriteDeadline(time.Now().Add(hang))
	if _, err := app.Write(bytes.Repeat([]byte("u"), unsent)); err != nil {
		t.Fatal(err)
	}
	return app, far
}

// TestExcludedUsersUploadOutlivesItsSocket: an app of an excluded user writes and closes, as
// every upload ends. What was not sent by then arrives, though its packets have no user any
// more.
func TestExcludedUsersUploadOutlivesItsSocket(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		p.addPeer(t, f, false)
		cfg := configFor(shootCIDR(f))
		cfg.ExcludeUIDs = []uint32{0} // the user of this test
		p.apply(t, cfg, b)
		at := netip.AddrPortFrom(shootPeer(f), 9100)
		app, far := p.uploadAndStay(t, listenSlow(t, p.router.Do, at), at)
		_ = app.Close()
		_ = far.SetDeadline(time.Now().Add(hang))
		got, err := io.Copy(io.Discard, far)
		if err != nil || got != unsent {
			t.Errorf("%d bytes of %d arrived, and then %v, want all and the end", got, unsent, err)
		}
	})
}

// TestRedirectedUploadThatOutlivesItsSocketNeverLeaks: the rest of a redirected connection has
// no user either. If the nat table or conntrack's entries are lost, it must not be taken for
// a connection of an excluded user.
func TestRedirectedUploadThatOutlivesItsSocketNeverLeaks(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		for name, lose := range map[string]func(p pod){
			"nat table": func(p pod) { p.Run(t, "nft", "delete", "table", map[Family]string{IPv4: "ip", IPv6: "ip6"}[f], "nat") },
			"nat rules and conntrack": func(p pod) {
				p.iptables(t, f, b, "-t", "nat", "-F")
				p.Run(t, "conntrack", "-F")
			},
		} {
			if name == "nat table" && b == BackendLegacy {
				continue // the kernel keeps it until its module is unloaded
			}
			p := dualStackPod(t)
			cfg := configFor(shootCIDR(f))
			cfg.ExcludeUIDs = []uint32{2000}
			p.apply(t, cfg, b)
			listener := listenSlow(t, p.Do, netip.AddrPortFrom(family.Loopback(f), cfg.ProxyPort))
			app, _ := p.uploadAndStay(t, listener, shootTarget(f))
			c := p.capture(t)
			lose(p)
			_ = app.Close()
			p.awaitRejected(t, b, f) // a probe of the closed window
			p.destinations(t, c, f)
			if slices.Contains(c.seen, shootTarget(f).Addr()) {
				t.Errorf("%s lost: the rest of a redirected connection left the pod: to %v", name, c.seen)
			}
		}
	})
}

// awaitRejected waits until the guard has rejected a TCP packet for the shoot.
func (p pod) awaitRejected(t *testing.T, b Backend, f Family) {
	t.Helper()
	for deadline := time.Now().Add(hang); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for line := range strings.Lines(p.iptables(t, f, b, "-v", "-S", ChainGuard)) {
			if l, err := rule.Parse(strings.TrimSpace(line)); err == nil && l.Packets > 0 && l.Rule.Destination.String() == shootCIDR(f) && l.Rule.Jump == "REJECT" {
				return
			}
		}
	}
	t.Fatal("the guard rejected nothing")
}
