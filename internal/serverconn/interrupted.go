// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"context"
	"time"
)

// Interrupted reports whether the end of ctx may be the cause of an error. A socket has
// the deadline of ctx, and may fail a moment before ctx ends.
func Interrupted(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
