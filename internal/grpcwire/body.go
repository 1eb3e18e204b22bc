// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"strconv"

	"google.golang.org/grpc/codes"
)

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
