// SPDX-License-Identifier: Apache-2.0

package tunnel

import "context"

// holdKey is the key of a hold in a context.
type holdKey struct{}

// WithHold returns a context for DialContext, which then calls hold for whatever
// of the dial is still under way when it returns, and the returned end when that
// is over too. A CONNECT that was given up waits for its answer for some seconds:
// it has a file open, and the agent still dials.
func WithHold(ctx context.Context, hold func() (end func())) context.Context {
	return context.WithValue(ctx, holdKey{}, hold)
}

// Hold calls what WithHold has put into ctx, where it has.
func Hold(ctx context.Context) (end func()) {
	if hold, ok := ctx.Value(holdKey{}).(func() func()); ok {
		return hold()
	}
	return func() {}
}
