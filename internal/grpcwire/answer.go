// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"io"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// Headers implements http2wire.Handler. It processes the headers of an answer, or the
// trailers that end it (grpc/doc/PROTOCOL-HTTP2.md, Responses).
func (e *events) Headers(f *http2.MetaHeadersFrame, trailers bool) {
	s := (*Stream)(e)
	if !trailers {
		if err := checkAnswer(f); err != nil {
			s.wire.Abort(http2.ErrCodeProtocol, err)
			return
		}
		s.body.announced = value(f, "content-length")
		if !f.StreamEnded() {
			return
		}
	}
	if !s.body.complete() {
		s.wire.Abort(http2.ErrCodeProtocol, s.body.mismatch())
		return
	}
	s.wire.EndInOrder(trailersStatus(f))
}

// checkAnswer returns what is wrong with the headers of an answer, or nil.
func checkAnswer(f *http2.MetaHeadersFrame) error {
	code, kind := f.PseudoValue("status"), value(f, "content-type")
	rest, isGRPC := strings.CutPrefix(strings.ToLower(kind), "application/grpc")
	if isGRPC = isGRPC && (rest == "" || strings.ContainsAny(rest[:1], "+;")); isGRPC && code == "200" {
		return nil
	}
	if _, ok := trailer(f, "grpc-status"); ok && isGRPC && f.StreamEnded() {
		return nil // trailersStatus says more
	}
	return failed(codeOfHTTP(code), ErrNotGRPC, "unexpected answer from server: HTTP status %.20q, content-type %.100q", code, kind)
}

// codeOfHTTP returns the gRPC code for an HTTP status, for an answer without
// grpc-status (grpc/doc/http-grpc-status-mapping.md).
func codeOfHTTP(status string) codes.Code {
	switch status {
	case "400":
		return codes.Internal
	case "401":
		return codes.Unauthenticated
	case "403":
		return codes.PermissionDenied
	case "404":
		return codes.Unimplemented
	case "429", "502", "503", "504":
		return codes.Unavailable
	default:
		return codes.Unknown
	}
}

// trailersStatus returns the gRPC status in the trailers as an error. It is io.EOF if
// the status is OK.
func trailersStatus(f *http2.MetaHeadersFrame) error {
	text, ok := trailer(f, "grpc-status")
	if !ok {
		return failed(codes.Internal, nil, "server closed the stream without sending grpc-status")
	}
	code, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return failed(codes.Internal, nil, "malformed grpc-status: %.100q", text)
	}
	if codes.Code(code) == codes.OK {
		return io.EOF
	}
	if code > uint64(codes.Unauthenticated) { // the highest code; all above become Unknown, so that metrics get no unknown labels
		return failed(codes.Unknown, nil, "grpc-status %d: %s", code, decodeMessage(value(f, "grpc-message")))
	}
	return failed(codes.Code(code), nil, "%s", decodeMessage(value(f, "grpc-message")))
}

// decodeMessage decodes the percent-encoding of grpc-message. It returns a badly
// encoded s unchanged.
func decodeMessage(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}

func value(f *http2.MetaHeadersFrame, name string) string {
	v, _ := trailer(f, name)
	return v
}

func trailer(f *http2.MetaHeadersFrame, name string) (string, bool) {
	for _, h := range f.RegularFields() {
		if h.Name == name {
			return h.Value, true
		}
	}
	return "", false
}
