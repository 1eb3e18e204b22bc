// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"cmp"
	"errors"
	"io"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// readSize is how much is read from a target at once, in bytes. With its frames' headers
// it fills four TLS records.
const readSize = 4 * (16<<10 - 9)

// readBuffers are buffers that no stream uses.
var readBuffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// readBuffer is the buffer of one stream, taken only while there is something to read and
// room to send it. It implements sockio.Memory.
type readBuffer struct {
	taken *[readSize]byte
	room  int // bytes
}

// Take implements sockio.Memory.
func (b *readBuffer) Take() []byte {
	if b.taken == nil {
		b.taken = readBuffers.Get().(*[readSize]byte)
	}
	return b.taken[:b.room]
}

// GiveBack implements sockio.Memory.
func (b *readBuffer) GiveBack() {
	if b.taken != nil {
		readBuffers.Put(b.taken)
		b.taken = nil
	}
}

// download moves what the target sends. A stream costs no buffer while its target waits,
// or its client does.
func (s *stream) download() {
	raw, err := s.conn.SyscallConn()
	if err == nil {
		err = s.downloadAll(raw)
	}
	if errors.Is(err, io.EOF) {
		s.targetEnded(raw)
		return
	}
	s.end(CloseTargetReset) // unless the client, or the exit, was first
}

// downloadAll returns io.EOF after the target's FIN, and otherwise why it has ended.
func (s *stream) downloadAll(raw syscall.RawConn) error {
	var buffer readBuffer
	defer buffer.GiveBack()
	var reader sockio.Reader
	reader.Init(s.conn, raw, &buffer)
	stalled := stall{stream: s, raw: raw}
	defer stalled.stop()
	metrics := s.client.server.Metrics
	for {
		if err := raw.Read(isReadable); err != nil {
			return err
		}
		stalled.begin()
		room, err := s.http.Reserve(readSize)
		stalled.stop()
		if err != nil {
			return err
		}
		buffer.room = room
		s.moving.Lock()
		n, err := reader.TryRead()
		s.toClient.Add(int64(n))
		metrics.toClients.Add(float64(n))
		sent := s.http.Send(buffer.bytes(n), room)
		s.moving.Unlock()
		buffer.GiveBack()
		if err := cmp.Or(err, sent); err != nil {
			return err
		}
	}
}

// bytes returns what was read.
func (b *readBuffer) bytes(n int) []byte {
	if b.taken == nil {
		return nil
	}
	return b.taken[:n]
}

// isReadable reports whether a read from a socket would not wait: something has arrived, or
// the end, or a reset. It leaves that to the read.
func isReadable(fd uintptr) bool {
	events, err := sockio.Poll(int(fd), unix.POLLIN)
	return err != nil || events != 0
}

// targetEnded passes the target's end on. Until the client ends too, the target can still
// reset the connection, and the client must learn of it.
//
// The kernel reports a reset to one call only. If that was a write of upload, the read has
// returned an end of file. Then the connection's state is TCP_CLOSE, and the client must
// not get an end first.
func (s *stream) targetEnded(raw syscall.RawConn) {
	info, err := sockio.TCPInfo(raw)
	if over := err != nil || info.State == unix.BPF_TCP_CLOSE; over && !s.clientEnded.Load() || s.isBlamed() {
		s.end(CloseTargetReset)
		return
	}
	s.targetFIN.Store(true)
	_ = s.http.CloseWrite() // fails if OnFailure has ended the target already
	if s.clientEnded.Load() {
		return
	}
	err = raw.Read(func(fd uintptr) bool {
		events, err := sockio.Poll(int(fd), 0)
		return err != nil || events&unix.POLLERR != 0
	})
	if err == nil {
		s.end(CloseTargetReset)
	}
}
