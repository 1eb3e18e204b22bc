// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// watchInterval is the pause between checks of an endpoint that is up in
	// http-connect mode. In the modes with a shared connection, its loss causes a check.
	watchInterval = 10 * time.Second
	// watchRetry is the longest pause between checks of an endpoint that is not up.
	watchRetry = 3 * time.Second
	// watchPause is the shortest pause after a check that succeeded. A server may
	// accept connections and drop them at once.
	watchPause = time.Second
)

// watch checks the endpoint until ctx ends or the endpoint is gone. In the modes with a
// shared connection it thereby keeps it connected.
func (e *endpoint) watch(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.gone, cancel)()
	e.watched.Store(true)
	defer func() {
		e.watched.Store(false)
		e.setUp(false, nil)
	}()
	for failures, woken := 0, false; ctx.Err() == nil; {
		if woken || e.standing() == nil {
			if err := e.Check(ctx); err != nil {
				failures++
				pause.For(ctx, min(backoff(failures, e.shared.random()), watchRetry))
				continue
			}
			failures = 0
			pause.For(ctx, watchPause)
		}
		woken = e.awaitEvent(ctx)
	}
}

// awaitEvent waits until an endpoint that is up has to be checked. woken reports that a
// dial has asked for the check.
func (e *endpoint) awaitEvent(ctx context.Context) (woken bool) {
	var over <-chan struct{}
	var timer <-chan time.Time
	if over = e.standing(); over != nil {
		// The loss of the shared connection ends the wait.
	} else if mode := e.server.speaks(); mode == tunnel.ModeGRPC || mode == tunnel.ModeH2Connect {
		return false // it was lost just now
	} else {
		timer = time.After(jittered(watchInterval, e.shared.random()))
	}
	select {
	case <-ctx.Done():
	case <-over:
	case <-timer:
	case <-e.wake:
		woken = true
	}
	return woken
}
