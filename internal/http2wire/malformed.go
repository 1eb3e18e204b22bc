// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"slices"
	"strings"

	"golang.org/x/net/http2"
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
