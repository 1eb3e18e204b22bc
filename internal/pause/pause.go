// SPDX-License-Identifier: Apache-2.0

// Package pause waits for a time, unless a context ends first.
//
//	for ctx.Err() == nil {
//		try()
//		pause.For(ctx, time.Second)
//	}
//
// It never says which of the two has ended a wait: ctx.Err does.
package pause

import (
	"context"
	"time"
)

// For returns after d, or when ctx ends.
func For(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
