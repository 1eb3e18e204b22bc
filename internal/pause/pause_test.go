// SPDX-License-Identifier: Apache-2.0

package pause_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/pause"
)

// TestFor: a pause lasts as long as it is told to, and ends with its context.
func TestFor(t *testing.T) {
	for _, tt := range []struct {
		name            string
		d, budget, want time.Duration
	}{
		{"the context lasts", time.Minute, time.Hour, time.Minute},
		{"the context ends first", time.Hour, time.Minute, time.Minute},
		{"the context has ended", time.Hour, 0, 0},
		{"no time at all", 0, time.Hour, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), tt.budget)
			defer cancel()
			began := time.Now()
			pause.For(ctx, tt.d)
			if took := time.Since(began); took != tt.want {
				t.Errorf("%s: the pause took %s, want %s", tt.name, took, tt.want)
			}
		})
	}
}
