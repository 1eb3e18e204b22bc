// SPDX-License-Identifier: Apache-2.0

// Package grpcwire is the client side of one gRPC method with streaming in both
// directions. It runs many calls of the method as streams of one HTTP/2 connection
// (grpc/doc/PROTOCOL-HTTP2.md). Package http2wire is that connection.
//
// It is built to forward bytes with few copies. Handler.Message gets a received message
// in the read buffer. A sender writes its own message. An idle stream has no goroutine
// and no buffer.
//
//	c := grpcwire.New(conn, socket, grpcwire.Config{Path: "/ProxyService/Proxy", Authority: "proxy:8090", …})
//	go c.Run()                           // reads until the connection ends
//	if err := c.Ready(ctx); err != nil { // the server speaks HTTP/2
//		return err
//	}
//	s, err := c.Open(handler)            // handler.Message is called with each message
//	err = s.Send(message, nil, false)
//	…
//	s.Finish()                           // in order; or Cancel. One of them is required: a server need not end a stream
//
// # Reading
//
// One goroutine, Run, reads, and calls the handlers of the streams. Handlers must not
// wait. Run calls Handler.Arrived when the read buffer is used up, so that many
// messages that come together are one event.
//
// # Flow control
//
// A stream's window is returned when its handler calls Stream.Taken. A handler that
// takes nothing stops only its own stream, after Config.StreamWindow bytes. A message
// that is longer than the window is received only if the handler waits for it
// (Stream.Await).
//
// # End of a stream
//
// Finish ends a stream in order: it sends END_STREAM, and the server's trailers end the
// stream for both sides. Cancel resets the stream. Proxies between client and server
// count resets of young streams, and close a connection with many of them
// (CVE-2023-44487).
//
// # What it never does
//
// It has no deadlines, retries, compression, metadata or pings of its own. It never
// dials, and never begins TLS.
package grpcwire
