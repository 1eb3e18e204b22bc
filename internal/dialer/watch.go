// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// watchInterval is the pause between looks at an endpoint that is up in
	// http-connect mode. In gRPC mode the shared connection itself tells.
	watchInterval = 10 * time.Second
	// watchRetry is the longest pause between looks at one that is not.
	watchRetry = 3 * time.Second
	// watchPause is the shortest pause behind a look that succeeded: a server
	// may accept connections only to drop them.
	watchPause = time.Second
)

// watch keeps the endpoint connected and its standing current, until ctx ends
// or the endpoint departs.
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
			if err := e.Reach(ctx); err != nil {
				failures++
				sleep(ctx, min(backoff(failures, e.server.dialer.random()), watchRetry))
				continue
			}
			failures = 0
			sleep(ctx, watchPause)
		}
		woken = e.rest(ctx)
	}
}

// rest waits until there is a reason to look at an endpoint that is up. woken
// says that it may not be.
func (e *endpoint) rest(ctx context.Context) (woken bool) {
	var over <-chan struct{}
	var timer <-chan time.Time
	if over = e.standing(); over != nil {
		// The shared connection tells.
	} else if e.server.speaks() == tunnel.ModeGRPC {
		return false // it is lost already
	} else {
		timer = time.After(jittered(watchInterval, e.server.dialer.random()))
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

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
