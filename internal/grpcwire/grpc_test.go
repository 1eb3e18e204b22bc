// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// rawCodec passes messages of a gRPC server as bytes.
type rawCodec struct{}

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2.
func (rawCodec) Name() string { return "raw" }

// serveGRPC starts grpc-go's server, which echoes every method. It returns a connection
// to the server, with or without TLS.
func serveGRPC(t *testing.T, withTLS bool) (net.Conn, *Socket, *grpc.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
			for {
				var p []byte
				if err := s.RecvMsg(&p); err != nil {
					return err
				}
				if string(p) == "no more" {
					return errors.New("that's it")
				}
				if err := s.SendMsg(&p); err != nil {
					return err
				}
			}
		}),
	}
	if withTLS {
		opts = append(opts, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certtest.SelfSigned(t, x509.Certificate{}).TLS()}})))
	}
	server := grpc.NewServer(opts...)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	raw, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	socket := NewSocket(raw)
	if !withTLS {
		return socket, socket, server
	}
	swap := &replaceableServerConn{Conn: raw}
	conn := tls.Client(swap, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	must(t, conn.Handshake())
	swap.Conn = socket
	return conn, socket, server
}

// replaceableServerConn is the server's end, whose Conn is replaced below TLS.
type replaceableServerConn struct{ net.Conn }

// echoHandler is a Handler that checks that the server returns what was sent.
type echoHandler struct {
	t      *testing.T
	stream atomic.Pointer[Stream]
	seed   int
	finish bool // call Finish after the last message
	next   int
	all    int
	done   chan struct{}
	ended  chan error
}

// size returns the size of the i-th message.
func (e *echoHandler) size(i int) int { return (i*i*131 + e.seed*977) % 40_000 }

func (e *echoHandler) message(i int) []byte {
	p := make([]byte, e.size(i))
	for j := range p {
		p[j] = byte(e.seed + i + j*7)
	}
	return p
}

// Message implements Handler.
func (e *echoHandler) Message(p []byte) {
	if want := e.message(e.next); string(p) != string(want) {
		e.t.Errorf("stream %d: message %d has %d bytes, or other ones than the %d that were sent", e.seed, e.next, len(p), len(want))
	}
	if e.next++; e.next == e.all {
		close(e.done)
	}
	if e.finish && e.next == e.all {
		e.stream.Load().Finish()
		return
	}
	e.stream.Load().Taken(Cost(len(p)), true)
}

// Arrived implements Handler.
func (*echoHandler) Arrived() {}

// End implements Handler.
func (e *echoHandler) End(err error) { e.ended <- err }

// TestAgainstGRPC: many concurrent streams carry their messages to grpc-go's server and
// back.
func TestAgainstGRPC(t *testing.T) {
	for _, withTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", withTLS), func(t *testing.T) {
			conn, socket, _ := serveGRPC(t, withTLS)
			c := New(conn, socket, testConfig())
			var running sync.WaitGroup
			running.Go(c.Run)
			defer running.Wait()
			defer c.Close()
			must(t, c.Ready(t.Context()))
			var streams sync.WaitGroup
			for i := range 20 {
				streams.Go(func() {
					e := &echoHandler{t: t, seed: i, all: 50, done: make(chan struct{}), ended: make(chan error, 1)}
					s, err := c.Open(e)
					must(t, err)
					e.stream.Store(s)
					for j := range e.all {
						p := e.message(j)
						if err := s.Send(p[:len(p)/3], p[len(p)/3:], j%3 == 1); err != nil {
							t.Errorf("stream %d: Send: %v", i, err)
						}
						clear(p)
					}
					waittest.Await(t, e.done, "the last message")
					if i%2 == 0 {
						s.Cancel()
						return
					}
					must(t, s.Send([]byte("no more"), nil, false))
					if err := waittest.Await(t, e.ended, "the end"); err.Error() != "that's it" {
						t.Errorf("stream %d ended with %v", i, err)
					}
				})
			}
			streams.Wait()
			if n := c.Streams(); n != 0 {
				t.Errorf("%d streams are left", n)
			}
		})
	}
}

// TestGracefulStop: a server that stops gracefully ends the connection after its last
// stream.
func TestGracefulStop(t *testing.T) {
	conn, socket, server := serveGRPC(t, true)
	cfg := testConfig()
	draining := make(chan struct{})
	cfg.Draining = func() { close(draining) }
	c := New(conn, socket, cfg)
	var running sync.WaitGroup
	running.Go(c.Run)
	must(t, c.Ready(t.Context()))
	e := &echoHandler{t: t, all: 2, done: make(chan struct{}), ended: make(chan error, 1)}
	s, err := c.Open(e)
	must(t, err)
	e.stream.Store(s)
	must(t, s.Send(e.message(0), nil, false))
	var stopping sync.WaitGroup
	stopping.Go(server.GracefulStop)
	waittest.Await(t, draining, "Draining")
	must(t, s.Send(e.message(1), nil, false))
	waittest.Await(t, e.done, "the last message")
	s.Cancel()
	stopping.Wait()
	running.Wait()
}
