// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"time"
)

// reloadInterval is the time between two checks of files that may change while the
// webhook runs. The files are small. They are in volumes, which change by links that a
// watch of a file does not follow. A watch would also need an inotify instance, and a
// node may have none left (sysctl fs.inotify.max_user_instances).
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
