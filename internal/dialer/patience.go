// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// waitsForTargets reports whether the server answers a dial only when it has reached the
// target, or has given up. Then a missing answer says nothing about the server. An agent of
// konnectivity gives up after 5 s. A standard proxy may try for longer than an app waits.
func (e *endpoint) waitsForTargets() bool {
	mode := e.mode()
	return mode == tunnel.ModeHTTPSProxy || mode == tunnel.ModeH2Connect
}

// dialPatiently dials dst and waits for as long as ctx lasts. If there is no answer for a
// while, it checks the server meanwhile. The dial fails with the check.
func (e *endpoint) dialPatiently(ctx context.Context, dst tunnel.Target, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	doubt := time.AfterFunc(e.blameWait(), func() {
		if e.standing() != nil {
			return // a shared connection is checked by PINGs
		}
		if err := e.checkLately(ctx); err != nil && err.Fault.Unreachable() {
			cancel(err)
		}
	})
	defer doubt.Stop()
	conn, err := e.dialByMode(ctx, dst, hold)
	if err != nil {
		if why, ok := errors.AsType[*tunnel.Error](context.Cause(ctx)); ok {
			err = why
		}
	}
	return conn, err
}

// checkLately waits for the result of a check that has ended in the last second, or that is
// under way.
func (e *endpoint) checkLately(ctx context.Context) *tunnel.Error {
	check := e.checks.beginAfter(time.Second)
	select {
	case <-check.done:
		return check.err
	case <-ctx.Done():
		return nil
	}
}
