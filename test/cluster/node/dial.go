// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netns"
)

// Do calls fn on a thread that is inside the node's network namespace. Sockets that fn
// itself makes stay in the namespace. Goroutines that fn starts are outside again. fn
// must return, and must not call t.FailNow.
func (h *Handle) Do(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			result <- err
			return // still locked: the thread ends here, as below
		}
		defer home.Close()
		if err := h.enter(); err != nil {
			result <- err
			return
		}
		err = fn()
		if back := netns.Set(home); back != nil {
			result <- errors.Join(err, back)
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

func (h *Handle) enter() error {
	inside, err := netns.GetFromPid(h.PID)
	if err != nil {
		return fmt.Errorf("the network namespace of node %s, which may be gone: %w", h.Dir, err)
	}
	defer inside.Close()
	return netns.Set(inside)
}

// DialContext connects from inside the node. The address must be numeric.
func (h *Handle) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
