// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestASlowFirstTryIsNotAFailure: one answer that takes longer than the limit of all tries
// is measured, and ends them.
func TestASlowFirstTryIsNotAFailure(t *testing.T) {
	for name, tt := range map[string]struct {
		each, limit time.Duration
		tries       int
	}{
		"slower than the limit": {5 * time.Second, 3 * time.Second, 1},
		"two within the limit":  {1200 * time.Millisecond, 3 * time.Second, 2},
		"fast":                  {time.Millisecond, 3 * time.Second, tries},
	} {
		synctest.Test(t, func(t *testing.T) {
			got := measure(t.Context(), tt.limit, func(ctx context.Context, _ int) bool {
				select {
				case <-ctx.Done():
					return false
				case <-time.After(tt.each):
					return true
				}
			})
			if got.Tries != tt.tries || got.Failed != 0 || got.Median < tt.each.Seconds() {
				t.Errorf("%s: %+v, want %d tries of %s, none failed", name, got, tt.tries, tt.each)
			}
		})
	}
}
