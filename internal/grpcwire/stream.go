// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"encoding/binary"
	"sync"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
)

// prefixBytes is the size of the prefix of a message: a compression flag of 1 byte, and
// the length.
const prefixBytes = 5

// Cost returns how many bytes of a stream's window a message of n bytes uses.
func Cost(n int) int { return prefixBytes + n }

// Stream is one call. Only one goroutine at a time may call Send or TrySend. The other
// methods may be called concurrently.
type Stream struct {
	wire          http2wire.Stream
	conn          *Conn
	handler       Handler
	bufferCounter BufferCounter // handler, or nil

	// Used only by Run:
	finished   bool // Finish was called
	body       body
	gotMessage bool // a message has begun to arrive
	message    message

	flowMutex      sync.Mutex
	toReturn       int  // bytes taken, not yet returned to the server
	pieces         int  // bytes of an incomplete message that have arrived
	piecesReturned int  // bytes of pieces that were already returned
	returnedAhead  int  // bytes of complete messages that were returned before Taken
	awaited        bool // the handler waits for the next message
}

// events is a Stream as the http2wire.Handler of its HTTP/2 stream.
type events Stream

// Send sends one message, which consists of head and body. The caller may reuse both
// when Send returns. Send waits if the server or the connection does not accept more.
// It returns io.EOF if the stream has ended; Handler.End gets the reason. more promises
// that another Send follows at once, so that both can be written together.
func (s *Stream) Send(head, body []byte, more bool) error {
	var prefix [prefixBytes]byte
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(head)+len(body)))
	return s.wire.Send(&http2wire.Payload{prefix[:], head, body}, more)
}

// TrySend sends one message if that needs no waiting, and reports whether it did. It
// sends a whole message or nothing. A message longer than 64 KiB is never sent.
func (s *Stream) TrySend(p []byte) (sent bool, err error) {
	var prefix [prefixBytes]byte
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(p)))
	return s.wire.TrySend(&http2wire.Payload{prefix[:], p, nil})
}

// Cancel resets the stream. Afterwards no method of its handler is called; a call that
// has begun still runs.
func (s *Stream) Cancel() { s.wire.Reset(http2.ErrCodeCancel) }

// Finish ends the stream in order. It sends END_STREAM after everything that was sent,
// and the server must then end the stream. Until then the stream counts as open, and
// its messages are dropped. Handler.End follows, unless Cancel comes first.
//
// Finish returns false and does nothing if only a part of a message was sent, or if the
// connection has ended. It must be called from Handler.Message.
func (s *Stream) Finish() bool {
	ok := s.wire.CloseSend()
	s.finished = s.finished || ok
	return ok
}

// Await says that the handler waits for the next message, and has taken all others. A
// message that is longer than the window can then arrive.
func (s *Stream) Await() {
	s.flowMutex.Lock()
	s.awaited = true
	n := s.windowIncrement()
	s.flowMutex.Unlock()
	s.wire.Announce(n)
}

// Taken returns n bytes of the window to the server. more says that the handler waits
// for the next message.
func (s *Stream) Taken(n int, more bool) {
	s.flowMutex.Lock()
	ahead := min(n, s.returnedAhead)
	s.returnedAhead -= ahead
	s.toReturn += n - ahead
	s.awaited = more
	n = s.windowIncrement()
	s.flowMutex.Unlock()
	s.wire.Announce(n)
}

// windowIncrement returns how many bytes to return to the server now, and counts them
// as returned. It returns them in halves of the window, to send few frames. It returns
// them earlier if the server may be waiting for them. The caller holds flowMutex.
func (s *Stream) windowIncrement() int {
	full := s.conn.cfg.StreamWindow
	pieces := 0
	if s.awaited {
		pieces = s.pieces
	}
	n := s.toReturn + pieces
	if n < full/16 || n < full/2 && s.wire.Window() > full/4 {
		return 0
	}
	s.toReturn = 0
	s.pieces -= pieces
	s.piecesReturned += pieces
	s.wire.Widen(n)
	return n
}
