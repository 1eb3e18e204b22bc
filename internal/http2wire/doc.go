// SPDX-License-Identifier: Apache-2.0

// Package http2wire is the client side of one HTTP/2 connection (RFC 9113). It carries
// streams for a framing, which is the package that uses it.
//
// It is built to forward bytes with few copies. Handler.Data gets received bytes in the
// read buffer. A sender writes its own bytes. An idle stream has no goroutine and no
// buffer.
//
//	c := http2wire.New(conn, socket, http2wire.Config{StreamWindow: 256 << 10, …})
//	go c.Run()                           // reads until the connection ends
//	if err := c.Ready(ctx); err != nil { // the server speaks HTTP/2
//		return err
//	}
//	err := c.Open(&s.Stream, s, fields, false) // s is the framing's stream, and a Handler
//	err = s.Send(&http2wire.Payload{…}, false)
//
// A framing embeds Stream in its own stream, so that a stream is one allocation.
//
// # Reading
//
// One goroutine, Run, reads, and calls the handlers of the streams. Handlers must not
// wait. Run calls Handler.Arrived when the read buffer is used up, so that many frames
// that come together are one event.
//
// # Flow control
//
// Run returns the connection's window as soon as bytes arrive. A stream's window belongs
// to its framing: Stream.Widen and Stream.Announce return it. A stream whose window is
// not returned stops alone, after Config.StreamWindow bytes.
//
// # Writing
//
// All frames go into one buffer. A sender appends its frame. If no goroutine is
// writing, the sender writes the buffer itself, without waiting for the socket
// (Socket.flushNow). If the socket is full, the goroutine flushLoop writes the rest.
// Senders then append until the buffer is full, and wait.
//
// Frames of many streams that are sent at the same time share one write. No frame is
// delayed for this. A Send never blocks in a write of other streams' bytes.
//
// # End of a stream
//
// Each side ends its direction by END_STREAM. The stream is over when both have. A
// framing that needs no more of a stream whose server has ended its direction calls
// EndInOrder. Reset ends both directions at once. Proxies between client and server
// count resets of young streams, and close a connection with many of them
// (CVE-2023-44487).
//
// # What it never does
//
// It has no deadlines and no retries. It pings only when the framing asks for it. It
// never dials, and never begins TLS.
package http2wire
