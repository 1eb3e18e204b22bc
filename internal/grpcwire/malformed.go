// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// What http2.Framer checks: the order of frames, their lengths and streams.

// isInterim reports whether f are the headers of an interim response: more will
// follow (RFC 9113, section 8.1).
func isInterim(f *http2.MetaHeadersFrame) bool {
	status := f.PseudoValue("status")
	return len(status) == 3 && status[0] == '1'
}

// malformed says which rule of RFC 9113, section 8, headers or trailers of the
// server break, or nothing.
func malformed(f *http2.MetaHeadersFrame, first, interim bool) string {
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

// body is what an answer has brought, and what its content-length says, which is
// empty where there is none.
type body struct {
	announced string
	got       uint64 // bytes of DATA, without padding
}

// fits reports whether n bytes more are not too many, and counts them.
func (b *body) fits(n int) bool {
	b.got += uint64(n)
	if b.announced == "" {
		return true
	}
	most, err := strconv.ParseUint(b.announced, 10, 64)
	return err == nil && b.got <= most
}

// complete reports whether all is there.
func (b *body) complete() bool {
	return b.announced == "" || b.announced == strconv.FormatUint(b.got, 10)
}

func (b *body) mismatch() error {
	return failed(codes.Internal, nil, "malformed answer from server: %d bytes, and content-length is %.20s", b.got, b.announced)
}
