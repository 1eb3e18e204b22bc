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
	// ErrClosed is wrapped by the errors of a connection and its streams after Close.
	ErrClosed = errors.New("the connection was closed")
	// ErrFull is wrapped by the error of Open if the connection carries as many streams
	// as the server allows. Open works again when one of them has ended.
	ErrFull = errors.New("no more streams on this connection now")
	// ErrUsedUp is wrapped by the error of Open if the connection has used all its
	// stream numbers. Open never works again on it.
	ErrUsedUp = errors.New("no more streams on this connection for ever")
	// ErrUnprocessed is wrapped by the error of a stream that the server, by its own
	// word, has not processed.
	ErrUnprocessed = errors.New("the server did not process the stream")
	// ErrHTTP1 is wrapped by the error of a connection whose server has answered in
	// HTTP/1.x.
	ErrHTTP1 = errors.New("it speaks HTTP/1.x, and not HTTP/2")
	// ErrNotGRPC is wrapped by the error of a stream whose answer is HTTP but not gRPC.
	// A web server gives such an answer, or a proxy on the way.
	ErrNotGRPC = errors.New("the answer is not gRPC")
)

// failure is the error of a stream or a connection: a gRPC status with a cause. Its
// text has a maximum length, because the server can choose parts of it.
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

// GRPCStatus makes status.FromError return the status.
func (f *failure) GRPCStatus() *status.Status { return status.New(f.code, f.text) }
