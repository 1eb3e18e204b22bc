// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

var (
	// ErrClosed is wrapped by what ends a connection and its streams after Close.
	ErrClosed = errors.New("the connection was closed")
	// ErrFull is wrapped by the error of an Open on a connection that carries as
	// many streams as the server allows. It has room when one of them has ended.
	ErrFull = errors.New("no more streams on this connection now")
	// ErrUsedUp is wrapped by the error of an Open on a connection that has carried
	// as many streams as there are numbers for. It never has room again.
	ErrUsedUp = errors.New("no more streams on this connection for ever")
	// ErrUnprocessed is wrapped by the end of a stream of which the server has
	// said that it has not looked at it.
	ErrUnprocessed = errors.New("the server did not process the stream")
	// ErrHTTP1 is wrapped by the end of a connection whose server has answered in
	// HTTP/1.x.
	ErrHTTP1 = errors.New("it speaks HTTP/1.x, and not HTTP/2")
	// ErrNotGRPC is wrapped by the end of a stream whose answer is HTTP, but not
	// gRPC: a web server's, or a proxy's of its own.
	ErrNotGRPC = errors.New("the answer is not gRPC")
)

// failure is why a stream or a connection ended: a status of gRPC's whose cause can
// be asked for. Its text is bounded, since the server has a say in it.
type failure struct {
	code  codes.Code
	text  string
	cause error // or nil
}

func failed(code codes.Code, cause error, format string, args ...any) error {
	return &failure{code: code, cause: cause, text: clip.Text(fmt.Sprintf(format, args...), clip.Sentence)}
}

// Error implements error.
func (f *failure) Error() string { return f.text }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.cause }

// GRPCStatus is what package status asks for.
func (f *failure) GRPCStatus() *status.Status { return status.New(f.code, f.text) }
