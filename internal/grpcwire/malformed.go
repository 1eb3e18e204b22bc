// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// The checks here are those that http2.Framer leaves out. It checks the order of
// frames, their lengths and their stream numbers.

// isInterim reports whether f holds the headers of an interim response, which others
// follow (RFC 9113, section 8.1).
func isInterim(f *http2.MetaHeadersFrame) bool {
	status := f.PseudoValue("status")
	return len(status) == 3 && status[0] == '1'
}

// answerFault returns which rule of RFC 9113, section 8, the headers or trailers in f
// break, or "".
func answerFault(f *http2.MetaHeadersFrame, first, interim bool) string {
	switch {
	case interim && f.StreamEnded():
		return "an interim response that ends the stream"
	case interim && f.PseudoValue("status") == "101":
		return "101 (Switching Protocols), which HTTP/2 does not have"
	case !first && len(f.PseudoFields()) > 0:
		return "pseudo-header fields in trailers"
	}
	for _, h := range f.RegularFields() {
		switch h.Name {
		case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
			return "the field " + h.Name + " is for HTTP/1.1"
		}
	}
	lengths := values(f, "content-length")
	if len(lengths) > 0 && (strings.Trim(lengths[0], "0123456789") != "" || len(slices.Compact(lengths)) > 1) {
		return "content-length is no length"
	}
	return ""
}

func values(f *http2.MetaHeadersFrame, name string) (all []string) {
	for _, h := range f.RegularFields() {
		if h.Name == name {
			all = append(all, h.Value)
		}
	}
	return all
}

// body counts the DATA of an answer against its content-length.
type body struct {
	announced string
	received  uint64 // bytes of DATA, without padding
}

// count adds n bytes. It reports whether the total is within content-length, or the
// answer has none.
func (b *body) count(n int) bool {
	b.received += uint64(n)
	if b.announced == "" {
		return true
	}
	most, err := strconv.ParseUint(b.announced, 10, 64)
	return err == nil && b.received <= most
}

// complete reports whether received is content-length, or the answer has none.
func (b *body) complete() bool {
	return b.announced == "" || b.announced == strconv.FormatUint(b.received, 10)
}

func (b *body) mismatch() error {
	return failed(codes.Internal, nil, "malformed answer from server: %d bytes, and content-length is %.20s", b.received, b.announced)
}
