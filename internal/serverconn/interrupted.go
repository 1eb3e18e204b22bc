// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"context"
	"time"
)

// Interrupted reports whether the end of ctx may be why something failed. A
// socket is given ctx's deadline and may notice that it has passed before ctx
// does.
func Interrupted(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
