// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"errors"
	"io"
	"sync"

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
			_ = s.http.CloseWrite() // fails if OnFailure has ended the target already
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
