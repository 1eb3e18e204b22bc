// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/origdst"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// The directions of connections, as the pod sees them.
const (
	outbound = "outbound"
	inbound  = "inbound"
)

// meshProxy stands for the proxy of a service mesh. It accepts the connections that the
// mesh's rules redirect, and answers each with its direction and original destination. If
// forwards is set, it connects to the original destination of an outbound one instead, as
// a mesh's proxy does for a destination that it does not know.
type meshProxy struct {
	forwards atomic.Bool

	rig   *rig
	user  owner
	ports map[string]int // by direction

	mu      sync.Mutex
	arrived []arrival
	open    []io.Closer
	closed  bool
	serving sync.WaitGroup
}

// arrival is a connection that a mesh's rules have redirected.
type arrival struct {
	direction   string
	destination netip.AddrPort
}

// String returns what the proxy answers.
func (a arrival) String() string { return a.direction + " " + a.destination.String() }

// startMeshProxy starts the proxy of a mesh in the pod.
func (r *rig) startMeshProxy(t *testing.T, m mesh) *meshProxy {
	t.Helper()
	p := &meshProxy{rig: r, user: m.proxy, ports: map[string]int{outbound: m.outboundPort, inbound: m.inboundPort}}
	for direction, port := range p.ports {
		for _, network := range []string{"tcp4", "tcp6"} {
			var listener net.Listener
			err := r.Pod.Do(func() (err error) {
				listener, err = (&net.ListenConfig{Control: transparent}).Listen(t.Context(), network, fmt.Sprintf(":%d", port))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			p.open = append(p.open, listener)
			p.serving.Go(func() { p.accept(listener, direction) })
		}
	}
	r.OnClose(p.close)
	return p
}

// transparent lets a listener accept connections that TPROXY leads to it.
func transparent(network, _ string, c syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if network == "tcp6" {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, failed)
}

func (p *meshProxy) accept(listener net.Listener, direction string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		if p.keep(conn) {
			p.serving.Go(func() { p.serve(conn.(*net.TCPConn), direction) })
		}
	}
}

// keep remembers a connection for close, or closes it if the proxy is closed already.
func (p *meshProxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = conn.Close()
		return false
	}
	p.open = append(p.open, conn)
	return true
}

func (p *meshProxy) serve(conn *net.TCPConn, direction string) {
	defer conn.Close()
	destination, err := origdst.Lookup(conn)
	if local := conn.LocalAddr().(*net.TCPAddr).AddrPort(); errors.Is(err, origdst.ErrNotRedirected) && int(local.Port()) != p.ports[direction] {
		destination, err = local, nil // TPROXY changes no address
	}
	if err != nil {
		_, _ = fmt.Fprintf(conn, "no original destination: %v\n", err)
		return
	}
	a := arrival{direction, netip.AddrPortFrom(destination.Addr().Unmap(), destination.Port())}
	p.mu.Lock()
	p.arrived = append(p.arrived, a)
	p.mu.Unlock()
	if direction != outbound || !p.forwards.Load() {
		_, _ = io.WriteString(conn, a.String()+"\n")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	onward, err := p.rig.dialAs(ctx, p.user, a.destination)
	if err != nil || !p.keep(onward) {
		return
	}
	defer onward.Close()
	p.serving.Go(func() {
		_, _ = io.Copy(onward, conn)
		_ = onward.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(conn, onward)
}

// close ends the proxy with all its connections.
func (p *meshProxy) close() error {
	p.mu.Lock()
	p.closed = true
	for _, c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.serving.Wait()
	return nil
}

// arrivals returns the connections that have arrived so far.
func (p *meshProxy) arrivals() []arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]arrival(nil), p.arrived...)
}

// owner is what the rules of a mesh look at in the sender of a packet: its user, whose
// group has the same number, and the mark of its socket.
type owner struct{ uid, mark int }

// The users of these tests whose connections no mesh treats specially.
var (
	app     = owner{uid: lab.AppUID}
	sidecar = owner{uid: lab.ProxyUID}
)

// dialAs connects in the pod with a socket of that user. Netfilter compares the user who
// has made the socket, which is the file system user of its thread.
func (r *rig) dialAs(ctx context.Context, user owner, to netip.AddrPort) (net.Conn, error) {
	return r.connectAs(ctx, "tcp", user, to)
}

func (r *rig) connectAs(ctx context.Context, network string, user owner, to netip.AddrPort) (net.Conn, error) {
	var conn net.Conn
	err := r.Pod.Do(func() (err error) {
		if err := become(user); err != nil {
			return err
		}
		conn, err = (&net.Dialer{Control: user.setMark}).DialContext(ctx, network, to.String())
		return errors.Join(err, become(owner{}))
	})
	if conn != nil {
		if deadline, ok := ctx.Deadline(); ok {
			err = errors.Join(err, conn.SetDeadline(deadline))
		}
	}
	return conn, err
}

// setMark gives a socket the user's mark, if it has one.
func (o owner) setMark(_, _ string, c syscall.RawConn) error {
	if o.mark == 0 {
		return nil
	}
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, o.mark) })
	return errors.Join(err, failed)
}

// become changes the user and group with which the current thread makes files. These
// system calls report no error: they return the former value.
func become(user owner) error {
	if err := unix.Setfsgid(user.uid); err != nil {
		return err
	}
	if err := unix.Setfsuid(user.uid); err != nil {
		return err
	}
	if now, err := unix.SetfsuidRetUid(-1); err != nil || now != user.uid {
		return fmt.Errorf("become file system user %d: it is %d (%v)", user.uid, now, err)
	}
	return nil
}

// greeting is what the seed's greeter says.
const (
	greeting    = "hello from the seed"
	greeterPort = 7777
)

// startGreeter starts a server in the seed, which the pod reaches without any product.
func (r *rig) startGreeter(t *testing.T) {
	t.Helper()
	for _, network := range []string{"tcp4", "tcp6"} {
		listener, err := r.Seed.Listen(network, fmt.Sprintf(":%d", greeterPort))
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return // closed
				}
				_, _ = io.WriteString(conn, greeting+"\n")
				_ = conn.Close()
			}
		})
		r.OnClose(func() error {
			err := listener.Close()
			serving.Wait()
			return err
		})
	}
}

// wantAnswer connects in the pod as a user and expects that line, and no more.
func (r *rig) wantAnswer(t *testing.T, user owner, to netip.AddrPort, want string) {
	t.Helper()
	conn, err := r.dialAs(labtest.Context(t, hang), user, to)
	wantLine(t, fmt.Sprintf("user %d", user.uid), conn, to, err, want)
}

// wantInbound connects from the seed to the pod and expects that line, and no more.
func (r *rig) wantInbound(t *testing.T, to netip.AddrPort, want string) {
	t.Helper()
	conn, err := r.Seed.DialContext(labtest.Context(t, hang), "tcp", to.String())
	if conn != nil {
		_ = conn.SetDeadline(time.Now().Add(hang))
	}
	wantLine(t, "the seed", conn, to, err, want)
}

func wantLine(t *testing.T, from string, conn net.Conn, to netip.AddrPort, err error, want string) {
	t.Helper()
	var got []byte
	if err == nil {
		defer conn.Close()
		got, err = io.ReadAll(conn)
	}
	if err != nil || string(got) != want+"\n" {
		t.Errorf("%s connects to %s and gets %q and error %v, want %q", from, to, got, err, want)
	}
}

// wantHello connects in the pod as a user to a target in the shoot, and expects its page.
func (r *rig) wantHello(t *testing.T, user owner, to netip.AddrPort) {
	t.Helper()
	if err := r.hello(labtest.Context(t, hang), user, to); err != nil {
		t.Error(err)
	}
}

func (r *rig) hello(ctx context.Context, user owner, to netip.AddrPort) error {
	conn, err := r.dialAs(ctx, user, to)
	if err != nil {
		return fmt.Errorf("user %d connects to %s: %w", user.uid, to, err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", to); err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if want := "hello from the shoot; you called " + to.String(); err != nil || !bytes.Contains(got, []byte(want)) {
		return fmt.Errorf("user %d asks %s and gets %q and error %v, want %q", user.uid, to, got, err, want)
	}
	return nil
}
