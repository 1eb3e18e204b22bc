// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/netip"
	"sync"
)

// route is where a connection comes from, as accepted, and where its app wanted
// it to go.
type route struct{ source, destination netip.AddrPort }

// routes are those of the open connections. The zero value is ready.
type routes struct {
	mu   sync.Mutex
	open map[route]struct{}
}

func (r *routes) remember(is route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[route]struct{}{}
	}
	r.open[is] = struct{}{}
}

func (r *routes) forget(was route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, was)
}

func (r *routes) has(route route) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.open[route]
	return ok
}
