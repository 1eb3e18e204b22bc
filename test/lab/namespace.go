// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a named network namespace: one host of the lab.
//
// A thread of its own stays inside for as long as the namespace exists. It starts all of
// the namespace's processes. The kernel sends a child its parent-death signal when the
// thread that made it ends, not the process.
type Namespace struct {
	// Name is the name that `ip netns` uses.
	Name string

	lab    *Lab
	handle netns.NsHandle
	home   netns.NsHandle // the namespace of this program itself
	inode  uint64
	jobs   chan func()
	gone   chan struct{}
}

func newNamespace(l *Lab, name string) (*Namespace, error) {
	n := &Namespace{Name: name, lab: l, jobs: make(chan func()), gone: make(chan struct{})}
	ready := make(chan error)
	go n.thread(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", name, err)
	}
	return n, nil
}

// thread creates the namespace and runs jobs in it. It never unlocks its thread, so that
// the thread ends with it.
func (n *Namespace) thread(ready chan<- error) {
	defer close(n.gone)
	runtime.LockOSThread()
	err := n.create()
	ready <- err
	if err != nil {
		return
	}
	for job := range n.jobs {
		job()
	}
}

func (n *Namespace) create() (err error) {
	if n.home, err = netns.Get(); err != nil {
		return err
	}
	if n.handle, err = netns.NewNamed(n.Name); err != nil {
		_ = n.home.Close()
		return fmt.Errorf("create it (are you root?): %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(n.handle), &st); err != nil {
		return err
	}
	n.inode = st.Ino
	return nil
}

// onThread runs fn on the namespace's long-lived thread.
func (n *Namespace) onThread(fn func() error) error {
	result := make(chan error, 1)
	n.jobs <- func() { result <- fn() }
	return <-result
}

// Do runs fn on a thread that is inside the namespace. Sockets that fn itself makes stay
// in the namespace. Goroutines that fn starts are outside again. fn must return. It must
// not call t.FailNow.
func (n *Namespace) Do(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(n.handle); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("enter network namespace %s: %w", n.Name, err)
			return
		}
		err := fn()
		if back := netns.Set(n.home); back != nil {
			result <- errors.Join(err, back) // still locked: the thread ends here
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

// DialContext connects from inside the namespace. The address must be numeric.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := n.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen opens a listening socket inside the namespace.
func (n *Namespace) Listen(network, address string) (net.Listener, error) {
	var listener net.Listener
	err := n.Do(func() (err error) {
		listener, err = net.Listen(network, address)
		return err
	})
	return listener, err
}

// HTTP returns a client whose connections start inside the namespace, a new one for each
// request.
func (n *Namespace) HTTP() *http.Client {
	return &http.Client{
		Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true},
		Timeout:   10 * time.Second,
	}
}

// close ends the thread and removes the name. The namespace itself ends with its last
// process and socket.
func (n *Namespace) close(keep bool) error {
	close(n.jobs)
	<-n.gone
	err := errors.Join(n.handle.Close(), n.home.Close())
	if keep {
		return err
	}
	if remove := netns.DeleteNamed(n.Name); remove != nil {
		err = errors.Join(err, fmt.Errorf("remove network namespace %s: %w", n.Name, remove))
	}
	return err
}
