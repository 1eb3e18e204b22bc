// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"context"
	"errors"
	"net"
	"time"
)

// Interrupted reports whether the end of ctx may be the cause of an error. A socket has
// the deadline of ctx, and may fail a moment before ctx ends.
func Interrupted(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// TimedOut reports whether err is that of a deadline that has passed.
func TimedOut(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}
