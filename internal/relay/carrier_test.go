// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// everything is what TCP carries.
var everything = tunnel.Traits{Backpressure: true, HalfClose: true, Resets: true}

// tcpCarrier is a way to a target that is nothing but a TCP connection.
type tcpCarrier struct {
	*net.TCPConn
	traits tunnel.Traits
	ended  bool        // Receive has returned io.EOF
	closed atomic.Bool // CloseWrite was called
	buf    [64 << 10]byte
}

func (c *tcpCarrier) Traits() tunnel.Traits { return c.traits }

func (c *tcpCarrier) Receive() ([]byte, error) {
	if c.ended {
		return nil, c.wait()
	}
	n, err := c.Read(c.buf[:])
	if n > 0 {
		return c.buf[:n], nil
	}
	if errors.Is(err, io.EOF) && c.wasReset() {
		return nil, errors.Join(tunnel.ErrReset, syscall.ECONNRESET)
	}
	c.ended = errors.Is(err, io.EOF)
	return nil, c.tunnelError(err)
}

// wasReset reports whether an end of file is a reset of which a Send was told. The kernel
// tells one call only.
func (c *tcpCarrier) wasReset() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	info, err := sockio.TCPInfo(raw)
	return err == nil && info.State == unix.BPF_TCP_CLOSE && !c.closed.Load()
}

// wait waits for a reset of the target that has ended its direction, or for the end of
// the connection.
func (c *tcpCarrier) wait() error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if err := awaitEvent(raw, func(fd int) bool { return isOver(fd) }); err != nil {
		return c.tunnelError(err)
	}
	if err := socketError(raw); err != nil {
		return c.tunnelError(err)
	}
	return io.EOF
}

func (c *tcpCarrier) Send(p []byte) error {
	_, err := c.Write(p)
	return c.tunnelError(err)
}

func (c *tcpCarrier) CloseWrite() error {
	c.closed.Store(true)
	return c.tunnelError(c.TCPConn.CloseWrite())
}

func (c *tcpCarrier) Close() error { return c.TCPConn.Close() }

func (c *tcpCarrier) Abort() error { return relay.Reset(c.TCPConn) }

// Broken implements tunnel.Breakable.
func (c *tcpCarrier) Broken() (broken bool) {
	raw, err := c.SyscallConn()
	if err == nil {
		err = sockio.Control(raw, func(fd int) error {
			events, err := sockio.Poll(fd, 0)
			broken = events&unix.POLLERR != 0
			return err
		})
	}
	return err == nil && broken
}

func (c *tcpCarrier) tunnelError(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return err
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ENOTCONN):
		return errors.Join(tunnel.ErrReset, err)
	case errors.Is(err, net.ErrClosed):
		return tunnel.ErrClosed
	default:
		return errors.Join(tunnel.ErrBroken, err)
	}
}

// awaitEvent waits until holds, which is asked again after each event on raw. It reads
// nothing.
func awaitEvent(raw syscall.RawConn, holds func(fd int) bool) error {
	return raw.Read(func(fd uintptr) bool { return holds(int(fd)) })
}

// isOver reports whether the kernel has forgotten the connection, after a reset or after
// the ends of both directions.
func isOver(fd int) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err != nil || info.State == unix.BPF_TCP_CLOSE || info.State == unix.BPF_TCP_TIME_WAIT
}

// socketError returns the kernel's error of a connection, and clears it.
func socketError(raw syscall.RawConn) error {
	var code int
	err := sockio.Control(raw, func(fd int) (err error) {
		code, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		return err
	})
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	return err
}

// tcpPair returns both ends of a TCP connection.
func tcpPair(t testing.TB) (dialled, accepted *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	side, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return small(t, conn), small(t, side)
}

// kernelBuffer is the size of the kernel's buffers of a test, so that little fills them.
const kernelBuffer = 200 << 10

func small(t testing.TB, conn net.Conn) *net.TCPConn {
	c := conn.(*net.TCPConn)
	if err := errors.Join(c.SetReadBuffer(kernelBuffer), c.SetWriteBuffer(kernelBuffer)); err != nil {
		t.Fatal(err)
	}
	return c
}

// way is a connection between an app and a target, with a relay in between or without.
type way struct {
	app, target *net.TCPConn
	side        *net.TCPConn // the relay's end of the app's connection
	cancel      context.CancelFunc
	result      chan relay.Result // of the relay
	monitor     relay.Monitor     // of a relay to an exit
	buffers     *relay.Buffers
}

// openDirect returns a way without a relay.
func openDirect(t *testing.T) *way {
	w := &way{}
	w.app, w.target = tcpPair(t)
	w.limit(t)
	return w
}

// openRelayed returns a way with a relay. The target's part of it has these traits.
func openRelayed(t *testing.T, traits tunnel.Traits, opt relay.Options) *way {
	return openRelayedWith(t, func(c *tcpCarrier) relay.Tunnel {
		c.traits = traits
		return c
	}, opt)
}

// openRelayedWith is openRelayed with a tunnel that wrap makes.
func openRelayedWith(t *testing.T, wrap func(*tcpCarrier) relay.Tunnel, opt relay.Options) *way {
	w := &way{result: make(chan relay.Result, 1)}
	var far *net.TCPConn
	w.app, w.side = tcpPair(t)
	far, w.target = tcpPair(t)
	w.limit(t)
	if opt.Buffers == nil {
		opt.Buffers = relay.NewBuffers(defaults.ConnectionBuffer, quota.New(defaults.TotalBuffer))
	}
	if opt.HalfCloseTimeout == 0 {
		opt.HalfCloseTimeout = hangTimeout
	}
	if opt.AppState == nil {
		opt.AppState = func() relay.AppState { return relay.AppUnknown }
	}
	opt.Pacer = new(relay.Pacer)
	w.buffers = opt.Buffers
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		w.cancel()
		select {
		case r := <-w.result:
			w.result <- r
		case <-time.After(hangTimeout):
			t.Error("the relay does not end")
		}
		if n := w.buffers.Held(); n != 0 {
			t.Errorf("%d bytes are held after the end", n)
		}
	})
	go func() { w.result <- relay.Run(ctx, w.side, wrap(&tcpCarrier{TCPConn: far}), opt) }()
	return w
}

// limit ends all waits of a test that hangs.
func (w *way) limit(t *testing.T) {
	t.Helper()
	for _, c := range []*net.TCPConn{w.app, w.target} {
		must(t, c.SetDeadline(time.Now().Add(hangTimeout)))
		t.Cleanup(func() { _ = c.Close() })
	}
}

// ended waits for the relay's end.
func (w *way) ended(t *testing.T) relay.Result {
	t.Helper()
	select {
	case r := <-w.result:
		w.result <- r
		return r
	case <-time.After(hangTimeout):
		t.Fatal("the relay does not end")
		panic("unreachable")
	}
}

// outcome says in one word how a call on a connection has ended.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, io.EOF):
		return "end"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, syscall.EPIPE):
		return "broken pipe"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "hangs"
	default:
		return err.Error()
	}
}

// bytesAcked returns how many bytes the peer's kernel has acknowledged.
func bytesAcked(t *testing.T, raw syscall.RawConn) uint64 {
	t.Helper()
	info, err := sockio.TCPInfo(raw)
	must(t, err)
	return info.Bytes_acked
}

// awaitUnread waits until bytes have arrived at c.
func awaitUnread(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	must(t, awaitEvent(raw, func(fd int) bool {
		n, err := sockio.Unread(fd)
		return err != nil || n > 0
	}))
}

func traitsName(traits tunnel.Traits) string {
	switch traits {
	case tunnel.Traits{}:
		return "konnectivity"
	case backpressure:
		return "backpressure"
	default:
		return "everything"
	}
}
