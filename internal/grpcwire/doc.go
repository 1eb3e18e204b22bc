// SPDX-License-Identifier: Apache-2.0

// Package grpcwire is the client's side of one gRPC method whose calls are
// streams in both directions, many of them on one HTTP/2 connection
// (RFC 9113; grpc/doc/PROTOCOL-HTTP2.md).
//
// It is for bytes that pass through: a message that arrives is handed over where
// it lies, one that is sent is written by whoever sends it, and a stream on which
// nothing happens has no goroutine and no buffer.
//
//	c := grpcwire.New(conn, socket, grpcwire.Config{Path: "/ProxyService/Proxy", Authority: "proxy:8090", …})
//	go c.Run()                           // reads until the connection ends
//	if err := c.Ready(ctx); err != nil { // the server speaks HTTP/2
//		return err
//	}
//	s, err := c.Open(handler)            // handler.Message is called with each message
//	err = s.Send(message, nil, false)
//	…
//	s.Finish()                           // in order, or Cancel: always, a server need not end a stream
//
// # Reading
//
// One goroutine, Run, reads, and calls the handlers of the streams. They must not
// wait. It wakes them, by Handler.Arrived, when what it has got from the socket is
// used up, so that many messages that come together are one event.
//
// # Flow control
//
// The connection's window is returned when bytes arrive, a stream's when its
// handler says that they were taken: who does not take stops their own stream, and
// no other, after Config.StreamWindow bytes. A message that is longer than the
// window is let in as long as somebody waits for it.
//
// # Writing
//
// Frames are put into one buffer. Who has put something there, and finds nobody
// writing, writes: without waiting for the socket, as Socket does it. Where that
// has no room, a goroutine of the connection writes the rest, and who sends
// meanwhile waits for room. So frames of many streams become one write where they
// meet, none is delayed for it, and Send never hangs in a write of others' bytes.
//
// # Ends
//
// Finish ends a stream in order, with END_STREAM, and the server's trailers end it
// for both. Cancel resets it. Proxies in between count resets of young streams, and
// close a connection that has many of them (CVE-2023-44487).
//
// # What it never does
//
// It has no deadlines, retries, compression, metadata or pings of its own.
package grpcwire
