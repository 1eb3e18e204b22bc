// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// hang is how long a connection whose app waits may stand still. It is far beyond the
// longest disturbance with its dial budget and the recovery of TCP after it. It is a
// guard, not a promise of speed.
const hang = 2 * time.Minute

// app is one connection of an app in the pod.
type app struct {
	conn    *net.TCPConn
	outcome outcome
	check   *checker // checks what it reads
	upload  io.Reader
	buffer  []byte
}

// dialer connects from inside the pod.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dial connects as an app does. The sidecar accepts every connection, even if its dial
// fails later. A failure here therefore has no excuse.
func dial(ctx context.Context, d dialer, o outcome) *app {
	a := &app{outcome: o, buffer: make([]byte, 16<<10)}
	a.outcome.began = time.Now()
	a.check, a.upload = newChecker(o.id, toApp), stream(o.id, toTarget)
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	conn, err := d(ctx, "tcp", o.to.String())
	if errors.Is(err, syscall.ECONNRESET) {
		// The connection was accepted, and reset before the app looked at it.
		a.end(resetEnd, err)
		return a
	}
	if err != nil {
		a.outcome.refused = true
		a.end(oddEnd, fmt.Errorf("the sidecar did not accept it: %w", err))
		return a
	}
	a.conn = conn.(*net.TCPConn)
	a.outcome.local = conn.LocalAddr().(*net.TCPAddr).AddrPort()
	a.alive()
	return a
}

// alive extends the time in which the connection must move.
func (a *app) alive() { _ = a.conn.SetDeadline(time.Now().Add(hang)) }

// over reports whether the connection has ended.
func (a *app) over() bool { return a.outcome.ending != "" }

// end records how the connection ended. The first call counts.
func (a *app) end(e ending, err error) {
	if a.over() {
		return
	}
	a.outcome.ending, a.outcome.err, a.outcome.ended = e, err, time.Now()
	if a.conn != nil {
		_ = a.conn.Close()
	}
}

// fail ends the connection with the error of a read or write.
func (a *app) fail(err error) {
	var wrong *wrongByteError
	if errors.As(err, &wrong) {
		a.end(oddEnd, err)
		return
	}
	a.end(endingOf(err), err)
}

// say sends the script, which is not part of the stream.
func (a *app) say(text string) {
	if a.over() {
		return
	}
	_, err := io.WriteString(a.conn, text)
	a.outcome.wrote = time.Now()
	if err != nil {
		a.fail(err)
	}
}

// send sends the next n bytes of the app's stream.
func (a *app) send(n int64) {
	for n > 0 && !a.over() {
		p := a.buffer[:min(n, int64(len(a.buffer)))]
		_, _ = io.ReadFull(a.upload, p) // the stream is endless
		a.alive()
		m, err := a.conn.Write(p)
		a.outcome.sent += int64(m)
		a.outcome.wrote = time.Now()
		n -= int64(m)
		if err != nil {
			a.fail(err)
			return
		}
	}
}

// receive reads the next n bytes of the answer. pace is in bytes a second; 0 means as
// fast as possible.
func (a *app) receive(n int64, pace int) {
	for n > 0 && !a.over() {
		m, err := a.read(a.buffer[:min(n, int64(len(a.buffer)))])
		n -= int64(m)
		if err != nil {
			a.fail(err)
			return
		}
		if pace > 0 {
			time.Sleep(time.Duration(m) * time.Second / time.Duration(pace))
		}
	}
}

func (a *app) read(p []byte) (int, error) {
	a.alive()
	n, err := a.conn.Read(p)
	if n > 0 {
		right, wrong := a.check.Write(p[:n])
		a.outcome.got += int64(right)
		if wrong != nil {
			return n, wrong
		}
	}
	return n, err
}

// receiveEnd expects the target's end.
func (a *app) receiveEnd() {
	for !a.over() {
		if _, err := a.read(a.buffer); err != nil {
			a.fail(err)
		}
	}
}

// finish sends FIN. The app goes on reading.
func (a *app) finish() {
	if a.over() {
		return
	}
	if err := a.conn.CloseWrite(); err != nil && endingOf(err) != resetEnd {
		// The next read sees the reset, and the bytes that came before it.
		a.fail(err)
	}
}

// leave closes a connection whose app has read all it wanted.
func (a *app) leave() { a.end(cleanEnd, nil) }

// abandon closes the connection before its end; with a reset if asked for.
func (a *app) abandon(reset bool) {
	if a.over() {
		return
	}
	if reset {
		_ = a.conn.SetLinger(0)
	}
	a.end(abandoned, nil)
}

// at returns an address with a port in the shoot.
func at(addr netip.Addr, port int) netip.AddrPort { return netip.AddrPortFrom(addr, uint16(port)) }
