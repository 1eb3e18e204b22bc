// SPDX-License-Identifier: Apache-2.0

// Package h2server is the server side of one HTTP/2 connection whose requests are CONNECT
// (RFC 9113 8.5).
//
// It owns frames, windows, limits and the end of the connection. golang.org/x/net/http2
// has no server that can end its direction of a stream and still read the other one. Its
// streams also share one window for what handlers have not read.
//
//	conn := h2server.New(tlsConn, h2server.Config{Serve: serve, …})
//	err := conn.Run() // until the connection ends, and all calls of serve with it
//
// serve runs in a goroutine for each stream:
//
//	if err := stream.Accept(); err != nil {
//		return
//	}
//	p, err := stream.Receive() // what the client sends; io.EOF is END_STREAM
//	n, err := stream.Reserve(most) // waits for the client's windows
//	err = stream.Send(q, n)        // at most n bytes
//	err = stream.CloseWrite()  // END_STREAM
//
// The connection is always read. What a stream's handler has not received stays within
// that stream's window. So a handler that waits delays no other stream.
//
// An idle stream has no buffer, and no goroutine but the handler's. Senders write
// themselves: what several have to send at the same moment goes into one write.
package h2server
