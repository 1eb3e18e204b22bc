// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/http2wire"
)

// Errors of the HTTP/2 connection, as package http2wire describes them.
var (
	ErrClosed      = http2wire.ErrClosed
	ErrFull        = http2wire.ErrFull
	ErrUsedUp      = http2wire.ErrUsedUp
	ErrUnprocessed = http2wire.ErrUnprocessed
	ErrHTTP1       = http2wire.ErrHTTP1
)

// ErrNotGRPC is wrapped by the error of a stream whose answer is HTTP but not gRPC. A
// web server gives such an answer, or a proxy on the way.
var ErrNotGRPC = errors.New("the answer is not gRPC")

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

// withStatus returns err with a gRPC status if the HTTP/2 connection has made it.
// Other errors it returns as they are.
func withStatus(err error) error {
	wire, ok := errors.AsType[*http2wire.Error](err)
	if !ok {
		return err
	}
	return &failure{code: codeOf(wire.Kind), text: wire.Error(), cause: wire}
}

// codeOf returns the gRPC code that grpc-go has for such an error.
func codeOf(kind http2wire.Kind) codes.Code {
	switch kind {
	case http2wire.Closed:
		return codes.Canceled
	case http2wire.NoStream:
		return codes.ResourceExhausted
	case http2wire.Ended:
		return codes.Internal
	default:
		return codes.Unavailable
	}
}

// Error implements error.
func (f *failure) Error() string { return f.text }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.cause }

// GRPCStatus makes status.FromError return the status.
func (f *failure) GRPCStatus() *status.Status { return status.New(f.code, f.text) }
