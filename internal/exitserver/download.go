// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
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

// readBuffer is the buffer of one stream, taken only while there is something to read. It
// implements sockio.Memory.
type readBuffer struct{ taken *[readSize]byte }

// Take implements sockio.Memory.
func (b *readBuffer) Take() []byte {
	if b.taken == nil {
		b.taken = readBuffers.Get().(*[readSize]byte)
	}
	return b.taken[:]
}

// GiveBack implements sockio.Memory.
func (b *readBuffer) GiveBack() {
	if b.taken != nil {
		readBuffers.Put(b.taken)
		b.taken = nil
	}
}

// download moves what the target sends. A target that waits costs no buffer.
func (s *stream) download() {
	var buffer readBuffer
	defer buffer.GiveBack()
	raw, err := s.conn.SyscallConn()
	if err != nil {
		s.end(CloseTargetReset)
		return
	}
	var reader sockio.Reader
	reader.Init(s.conn, raw, &buffer)
	metrics := s.client.server.Metrics
	for {
		n, err := reader.Read()
		if errors.Is(err, io.EOF) {
			s.targetEnded(raw)
			return
		}
		if err != nil {
			s.end(CloseTargetReset)
			return
		}
		s.toClient.Add(int64(n))
		metrics.toClients.Add(float64(n))
		err = s.http.Send(buffer.taken[:n])
		buffer.GiveBack()
		if err != nil {
			return // the cause has ended the target too
		}
	}
}

// targetEnded passes the target's end on. Until the client ends too, the target can still
// reset the connection, and the client must learn of it.
//
// The kernel reports a reset to one call only. If that was a write of upload, the read has
// returned an end of file. Then the connection's state is TCP_CLOSE, and the client must
// not get an end first.
func (s *stream) targetEnded(raw syscall.RawConn) {
	info, err := sockio.TCPInfo(raw)
	if over := err != nil || info.State == unix.BPF_TCP_CLOSE; over && !s.clientEnded.Load() {
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
