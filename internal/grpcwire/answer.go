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

// head reads the headers of an answer, or the trailers that end it
// (grpc/doc/PROTOCOL-HTTP2.md, Responses).
func (c *Conn) head(f *http2.MetaHeadersFrame) error {
	s := c.lookup(f.StreamID)
	if s == nil {
		return c.idle(f.StreamID, "HEADERS")
	}
	first := !s.answered
	interim := first && isInterim(f)
	s.answered = !interim
	wrong := malformed(f, first, interim)
	switch {
	case f.Truncated:
		c.abort(s, http2.ErrCodeProtocol, failed(codes.Internal, nil, "peer header list size exceeded limit"))
	case !first && !f.StreamEnded():
		c.abort(s, http2.ErrCodeProtocol, failed(codes.Internal, nil, "a HEADERS frame cannot appear in the middle of a stream"))
	case wrong != "":
		c.abort(s, http2.ErrCodeProtocol, failed(codes.Internal, nil, "malformed answer from server: %s", wrong))
	case interim: // 103 Early Hints and the like, which gRPC has no use for
	case first:
		if err := judgeAnswer(f); err != nil {
			c.abort(s, http2.ErrCodeProtocol, err)
			return nil
		}
		s.body.announced = value(f, "content-length")
		if !f.StreamEnded() {
			return nil
		}
		fallthrough
	default:
		if !s.body.complete() {
			c.abort(s, http2.ErrCodeProtocol, s.body.mismatch())
			return nil
		}
		c.ended(s, verdict(f))
	}
	return nil
}

// judgeAnswer says what is wrong with the headers of an answer.
func judgeAnswer(f *http2.MetaHeadersFrame) error {
	code, kind := f.PseudoValue("status"), value(f, "content-type")
	rest, isGRPC := strings.CutPrefix(strings.ToLower(kind), "application/grpc")
	if isGRPC = isGRPC && (rest == "" || strings.ContainsAny(rest[:1], "+;")); isGRPC && code == "200" {
		return nil
	}
	if _, ok := trailer(f, "grpc-status"); ok && isGRPC && f.StreamEnded() {
		return nil // verdict says more
	}
	return failed(codeOf(code), ErrNotGRPC, "unexpected answer from server: HTTP status %.20q, content-type %.100q", code, kind)
}

// codeOf is what an HTTP status stands for where there is no status of gRPC's
// (grpc/doc/http-grpc-status-mapping.md).
func codeOf(status string) codes.Code {
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

// verdict is what the trailers say: io.EOF where all is well.
func verdict(f *http2.MetaHeadersFrame) error {
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
	if code > uint64(codes.Unauthenticated) { // the last; others are Unknown, not labels of metrics
		return failed(codes.Unknown, nil, "grpc-status %d: %s", code, decodeMessage(value(f, "grpc-message")))
	}
	return failed(codes.Code(code), nil, "%s", decodeMessage(value(f, "grpc-message")))
}

// decodeMessage undoes the percent-encoding of grpc-message. What is not encoded
// properly stays as it is.
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
