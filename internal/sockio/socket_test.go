// SPDX-License-Identifier: Apache-2.0

package sockio

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair returns both ends of a connection on loopback.
func pair(t testing.TB) (ours, peers *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	peer, err := l.Accept()
	must(t, err)
	t.Cleanup(func() {
		_ = conn.Close()
		_ = peer.Close()
	})
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	must(t, peer.SetDeadline(time.Now().Add(10*time.Second)))
	return conn.(*net.TCPConn), peer.(*net.TCPConn)
}

func rawOf(t testing.TB, conn *net.TCPConn) syscall.RawConn {
	t.Helper()
	raw, err := conn.SyscallConn()
	must(t, err)
	return raw
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// oneBuffer is a Memory that counts how many buffers are taken.
type oneBuffer struct {
	memory [8]byte
	taken  int
}

func (b *oneBuffer) Take() []byte { b.taken++; return b.memory[:] }
func (b *oneBuffer) GiveBack()    { b.taken-- }

func newReader(t testing.TB, conn *net.TCPConn) (*Reader, *oneBuffer) {
	t.Helper()
	r, b := new(Reader), new(oneBuffer)
	r.Init(conn, rawOf(t, conn), b)
	return r, b
}

// TestReader: bytes, no bytes, the end and errors are distinguished. Only bytes keep a
// buffer.
func TestReader(t *testing.T) {
	ours, peer := pair(t)
	r, b := newReader(t, ours)
	if n, err := r.TryRead(); n != 0 || err != nil || b.taken != 0 {
		t.Errorf("before anything has arrived: %d, %v, %d buffers", n, err, b.taken)
	}
	_, err := peer.Write([]byte("hello"))
	must(t, err)
	if n, err := r.Read(); n != 5 || err != nil || b.taken != 1 || string(b.memory[:n]) != "hello" {
		t.Errorf("after five bytes: %d, %v, %d buffers with %q", n, err, b.taken, b.memory[:n])
	}
	b.GiveBack()
	must(t, peer.CloseWrite())
	if n, err := r.Read(); n != 0 || !errors.Is(err, io.EOF) || b.taken != 0 {
		t.Errorf("at the end: %d, %v, %d buffers", n, err, b.taken)
	}

	ours, peer = pair(t)
	r, b = newReader(t, ours)
	must(t, peer.SetLinger(0))
	must(t, peer.Close())
	_, err = peerIsReset(t, ours, r)
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "read" || op.Addr == nil || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("after a reset: %#v, want what net.Conn has", err)
	}
	if b.taken != 0 {
		t.Errorf("an error keeps %d buffers", b.taken)
	}
}

// peerIsReset reads after conn's reset has arrived.
func peerIsReset(t *testing.T, conn *net.TCPConn, r *Reader) (int, error) {
	t.Helper()
	must(t, rawOf(t, conn).Read(func(fd uintptr) bool {
		events, err := Poll(int(fd), 0)
		return err != nil || events&unix.POLLERR != 0
	}))
	return r.Read()
}

// TestReaderWaits: a Read that waits holds no buffer. It ends at the deadline or when
// the connection is closed, like a net.Conn's.
func TestReaderWaits(t *testing.T) {
	ours, _ := pair(t)
	r, b := newReader(t, ours)
	must(t, ours.SetReadDeadline(time.Unix(1, 0)))
	if n, err := r.Read(); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || b.taken != 0 {
		t.Errorf("past the deadline: %d, %v, %d buffers", n, err, b.taken)
	}
	must(t, ours.Close())
	if n, err := r.Read(); n != 0 || !errors.Is(err, net.ErrClosed) || b.taken != 0 {
		t.Errorf("closed: %d, %v, %d buffers", n, err, b.taken)
	}
}

// TestWriter: a write accepts what fits, or nothing if the buffer is full. Its errors
// are the kernel's.
func TestWriter(t *testing.T) {
	ours, peer := pair(t)
	var w Writer
	w.Init(rawOf(t, ours))
	p := make([]byte, 1<<20)
	written := 0
	for range 1000 {
		n, err := w.TryWrite(p)
		must(t, err)
		if n == 0 {
			break
		}
		written += n
	}
	if written == 0 || written == 1000*len(p) {
		t.Fatalf("%d bytes fit", written)
	}
	if n, err := Unsent(w.raw); err != nil || n == 0 || n > written {
		t.Errorf("%d of %d bytes are unsent, %v", n, written, err)
	}
	if n, err := io.CopyN(io.Discard, peer, int64(written)); err != nil {
		t.Errorf("%d of %d bytes arrived: %v", n, written, err)
	}
	must(t, ours.CloseWrite())
	if n, err := w.TryWrite(p); n != 0 || !errors.Is(err, unix.EPIPE) {
		t.Errorf("behind FIN: %d, %v", n, err)
	}
	must(t, ours.Close())
	if n, err := w.TryWrite(p); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %d, %v", n, err)
	}
}

// TestWriterWaits: Write waits for the peer, and ends with the connection or at its
// deadline. It says how much was written.
func TestWriterWaits(t *testing.T) {
	ours, peer := pair(t)
	var w Writer
	w.Init(rawOf(t, ours))
	p := make([]byte, 16<<20)
	read := make(chan int64)
	go func() {
		n, _ := io.CopyN(io.Discard, peer, int64(len(p)))
		read <- n
	}()
	if n, err := w.Write(p); n != len(p) || err != nil {
		t.Errorf("%d of %d bytes were written, %v", n, len(p), err)
	}
	if n := <-read; n != int64(len(p)) {
		t.Errorf("%d of %d bytes arrived", n, len(p))
	}
	must(t, ours.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	if n, err := w.Write(p); n == 0 || n == len(p) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %d, %v", n, err)
	}
	must(t, ours.SetWriteDeadline(time.Time{}))
	time.AfterFunc(10*time.Millisecond, func() { _ = peer.SetLinger(0); _ = peer.Close() })
	if n, err := w.Write(p); n == len(p) || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("at the peer's reset: %d, %v", n, err)
	}
	must(t, ours.Close())
	if n, err := w.Write(p); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %d, %v", n, err)
	}
}

// TestState: the state of a connection, and both kinds of errors.
func TestState(t *testing.T) {
	ours, peer := pair(t)
	raw := rawOf(t, ours)
	_, err := peer.Write([]byte("hello"))
	must(t, err)
	must(t, peer.CloseWrite())
	var unread int
	must(t, raw.Read(func(fd uintptr) bool {
		events, perr := Poll(int(fd), unix.POLLRDHUP)
		if err = perr; err != nil {
			return true
		}
		unread, err = Unread(int(fd))
		return err != nil || events == unix.POLLRDHUP
	}))
	if err != nil || unread != 5 {
		t.Errorf("%d bytes before the end, %v; want 5", unread, err)
	}
	if info, err := TCPInfo(raw); err != nil || info.State != unix.BPF_TCP_CLOSE_WAIT {
		t.Errorf("state %+v, %v; want CLOSE_WAIT", info, err)
	}
	own := errors.New("own")
	if err := Control(raw, func(int) error { return own }); !errors.Is(err, own) {
		t.Errorf("the error is %v, want the function's", err)
	}
	must(t, ours.Close())
	if err := Control(raw, func(int) error { return nil }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the error is %v, want that of a closed connection", err)
	}
	if _, err := TCPInfo(raw); !errors.Is(err, net.ErrClosed) {
		t.Errorf("TCP_INFO of a closed connection: %v", err)
	}
	if _, err := Unsent(raw); !errors.Is(err, net.ErrClosed) {
		t.Errorf("SIOCOUTQ of a closed connection: %v", err)
	}
}

// TestNothingIsAllocated: reads and writes are the hot path, and allocate nothing.
func TestNothingIsAllocated(t *testing.T) {
	ours, peer := pair(t)
	r, b := newReader(t, ours)
	var w Writer
	w.Init(rawOf(t, peer))
	p := []byte("hello")
	if n := testing.AllocsPerRun(100, func() {
		if _, err := w.TryWrite(p); err != nil {
			t.Error(err)
		}
		if _, err := r.Read(); err != nil {
			t.Error(err)
		}
		b.GiveBack()
	}); n != 0 {
		t.Errorf("%v allocations for a write and a read", n)
	}
}
