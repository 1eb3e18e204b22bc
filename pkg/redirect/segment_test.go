// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

// The flags of a TCP segment (RFC 9293 3.1).
const (
	flagSYN = 1 << 1
	flagACK = 1 << 4
)

// segment is a TCP segment without options and data.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    byte
}

// bytes returns the segment with its checksum.
func (s segment) bytes() []byte {
	b := binary.BigEndian.AppendUint16(nil, s.from.Port())
	b = binary.BigEndian.AppendUint16(b, s.to.Port())
	b = binary.BigEndian.AppendUint32(b, s.seq)
	b = binary.BigEndian.AppendUint32(b, s.ack)
	b = append(b, 5<<4, s.flags, 0x20, 0, 0, 0, 0, 0)
	pseudo := append(append(s.from.Addr().AsSlice(), s.to.Addr().AsSlice()...), 0, unix.IPPROTO_TCP, 0, byte(len(b)))
	var sum uint32
	for _, part := range [][]byte{pseudo, b} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[16:], ^uint16(sum))
	return b
}

// send sends the segment through a raw socket in ns, which the kernel's TCP does not notice.
// The error is EPERM if a rule drops the segment.
func (s segment) send(t *testing.T, ns *netnstest.NS) (err error) {
	t.Helper()
	family, source, target := unix.AF_INET, socketAddress(s.from.Addr()), socketAddress(s.to.Addr())
	if s.from.Addr().Is6() {
		family = unix.AF_INET6
	}
	ns.Do(t, func() {
		var fd int
		if fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP); err != nil {
			return
		}
		defer unix.Close(fd) //nolint:errcheck // the segment was sent
		if err = unix.Bind(fd, source); err == nil {
			err = unix.Sendto(fd, s.bytes(), 0, target)
		}
	})
	return err
}

func socketAddress(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}

// position returns the sequence numbers that an idle connection sends and expects next.
func position(t *testing.T, conn net.Conn) (seq, ack uint32) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	read := func(fd, queue int) uint32 {
		err := unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, queue)
		n, gerr := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_QUEUE_SEQ)
		failed = errors.Join(failed, err, gerr)
		return uint32(n)
	}
	// TCP_RECV_QUEUE and TCP_SEND_QUEUE of linux/tcp.h. -1 leaves repair mode without a
	// window probe.
	const receive, send, on, off = 1, 2, 1, -1
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_REPAIR, on)
		seq, ack = read(int(fd), send), read(int(fd), receive)
		failed = errors.Join(failed, unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_REPAIR, off))
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatalf("read the sequence numbers of a connection: %v", err)
	}
	return seq, ack
}

// TestInvalidSegmentDoesNotEndItsConnection: a segment that conntrack calls invalid is not
// redirected, so it meets the guard. A reset would end a connection that works.
func TestInvalidSegmentDoesNotEndItsConnection(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		p.apply(t, configFor(shootCIDR(f)), b)
		p.sidecar(t, f)
		c := p.capture(t)
		conn, err := p.dial(t, "tcp", shootTarget(f))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		readLine(t, conn)
		seq, ack := position(t, conn)
		source := conn.LocalAddr().(*net.TCPAddr).AddrPort()
		for _, far := range []uint32{1 << 29, 1 << 30} {
			s := segment{from: source, to: shootTarget(f), seq: seq + far, ack: ack, flags: flagACK}
			if err := s.send(t, p.NS); !errors.Is(err, unix.EPERM) {
				t.Errorf("a segment %d out of window: %v; want it dropped, which the sender sees as EPERM", far, err)
			}
		}
		if _, err := conn.Write([]byte("still there?\n")); err != nil {
			t.Fatalf("an invalid segment ended the connection: %v", err)
		}
		if got := readLine(t, conn); got != "still there?" {
			t.Errorf("the echo is %q", got)
		}
		if got := forShoot(p.destinations(t, c, f)); len(got) > 0 {
			t.Errorf("an invalid segment left the pod: to %v", got)
		}
	})
}
