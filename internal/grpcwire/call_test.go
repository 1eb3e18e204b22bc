// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestCall: Call returns the status of grpc-go's server, for methods and services that
// the server has and for others.
func TestCall(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	silent := make(chan struct{})
	server := grpc.NewServer()
	stream := func(name string, handler grpc.StreamHandler) grpc.StreamDesc {
		return grpc.StreamDesc{StreamName: name, Handler: handler, ServerStreams: true, ClientStreams: true}
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "Known", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{
			stream("Done", func(any, grpc.ServerStream) error { return nil }),
			stream("Silent", func(_ any, s grpc.ServerStream) error {
				<-s.Context().Done()
				close(silent)
				return nil
			}),
		},
	}, struct{}{})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	defer serving.Wait()
	defer server.Stop()
	conn, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	socket := NewSocket(conn)
	c := New(socket, socket, testConfig())
	serving.Go(c.Run)
	defer c.Close()
	must(t, c.Ready(t.Context()))

	if err := c.Call(t.Context(), "/Known/Done"); err != io.EOF {
		t.Errorf("a method that ends well: %v, want io.EOF", err)
	}
	for path, words := range map[string]string{
		"/Known/Unknown":   "unknown method Unknown for service Known",
		"/Unknown/Unknown": "unknown service Unknown",
	} {
		err := c.Call(t.Context(), path)
		if is := status.Convert(err); is.Code() != codes.Unimplemented || is.Message() != words {
			t.Errorf("%s: %s %q, want Unimplemented %q", path, is.Code(), is.Message(), words)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Call(ctx, "/Known/Silent"); !errors.Is(err, context.Canceled) {
		t.Errorf("a call whose caller has gone: %v, want context.Canceled", err)
	}
	waittest.Await(t, silent, "the end of the call at the server")
	if n := c.Streams(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
}

// TestCallAnswers: the error distinguishes an answer that is not gRPC. The HTTP status
// sets its code.
func TestCallAnswers(t *testing.T) {
	for _, tc := range []struct {
		status, kind string
		code         codes.Code
		notGRPC      bool
	}{
		{"404", "text/html", codes.Unimplemented, true},
		{"403", "application/json", codes.PermissionDenied, true},
		{"401", "", codes.Unauthenticated, true},
		{"400", "", codes.Internal, true},
		{"503", "text/html", codes.Unavailable, true},
		{"200", "text/html", codes.Unknown, true},
		{"200", "application/grpc", codes.Internal, false},
	} {
		p := dialPeer(t, testConfig())
		end := make(chan error, 1)
		go func() { end <- p.c.Call(t.Context(), "/A/B") }()
		head := p.Want("HEADERS", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok }).(*http2.MetaHeadersFrame)
		if path := head.PseudoValue("path"); path != "/A/B" {
			t.Errorf("called %q, want /A/B", path)
		}
		if !head.StreamEnded() {
			t.Error("the headers do not end the stream: a server that answers at once has it reset")
		}
		p.SendHeaders(head.StreamID, true, ":status", tc.status, "content-type", tc.kind)
		err := <-end
		if got := status.Code(err); got != tc.code || errors.Is(err, ErrNotGRPC) != tc.notGRPC {
			t.Errorf("HTTP status %s, %q: %s (%v), want %s, and not gRPC: %v", tc.status, tc.kind, got, err, tc.code, tc.notGRPC)
		}
	}
}

// TestHTTP1: an HTTP/1.x answer is distinguished from garbage.
func TestHTTP1(t *testing.T) {
	for answer, want := range map[string]bool{
		"HTTP/1.1 400 Bad Request\r\n\r\n":    true,
		"HTTP/1.0 400 Bad Request\r\n\r\n":    true,
		"SSH-2.0-OpenSSH_9.9\r\n":             false,
		"HTTPS is another thing altogether\n": false,
	} {
		p := silentPeer(t, testConfig())
		_, err := io.WriteString(p.Conn, answer)
		must(t, err)
		must(t, p.Conn.Close())
		if err := p.c.Ready(t.Context()); errors.Is(err, ErrHTTP1) != want {
			t.Errorf("%.20q: %v; that it is HTTP/1.x should be %v", strings.TrimSpace(answer), err, want)
		}
	}
}
