// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"time"
)

// reloadInterval is how often files are looked at that may change while we run. They are
// small, and come from volumes, which change by links that no watch of a file follows. A
// watch would also need an inotify instance, of which a node may have none left (sysctl
// fs.inotify.max_user_instances).
const reloadInterval = time.Second

// poll calls look after each reloadInterval, until ctx ends.
func poll(ctx context.Context, look func(context.Context)) {
	ticker := time.NewTicker(reloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			look(ctx)
		}
	}
}
