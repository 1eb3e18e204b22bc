// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/netip"
	"sync"
)

// route is a connection's source, as accepted, and its original destination.
type route struct{ source, destination netip.AddrPort }

// routes is the set of the open connections' routes. The zero value is ready to use.
type routes struct {
	mu   sync.Mutex
	open map[route]struct{}
}

func (r *routes) add(is route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[route]struct{}{}
	}
	r.open[is] = struct{}{}
}

func (r *routes) remove(was route) {
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
