// SPDX-License-Identifier: Apache-2.0

package target

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// Ports of the targets.
const (
	HTTPPort       = 8080
	EchoPort       = 7000
	HalfClosePort  = 7001
	SpeakFirstPort = 7002
	AfterEOFPort   = 7003
	SilentPort     = 7004
	SinkPort       = 7005
	StuckPort      = 7006
	ResetPort      = 7007
	NamedPort      = 7008
	ClosedPort     = 7009
	FINFirstPort   = 7010
)

// Targets are running servers.
type Targets struct {
	http      *http.Server
	httpAddr  net.Addr
	listeners []net.Listener
	tasks     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]struct{}
	httpOpen int
	released chan struct{}
	name     string
	held     int

	sunk chan Sunk
}

// Listen opens all targets with the given listen function, which decides the namespace:
// [net.Listen] or a lab.Namespace's.
func Listen(listen func(network, address string) (net.Listener, error)) (*Targets, error) {
	t := &Targets{conns: map[net.Conn]struct{}{}, released: make(chan struct{}), sunk: make(chan Sunk, 16)}
	for port, serve := range map[int]func(net.Conn){
		EchoPort: echo, HalfClosePort: halfClose, SpeakFirstPort: speakFirst, AfterEOFPort: afterEOF, SilentPort: silent,
		SinkPort: t.sink, StuckPort: t.stuck, ResetPort: resets, NamedPort: t.named, FINFirstPort: t.finFirst,
	} {
		listener, err := t.open(listen, port)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		t.tasks.Go(func() { t.accept(listener, serve) })
	}
	listener, err := t.open(listen, HTTPPort)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.http, t.httpAddr = &http.Server{Handler: t.handler(), ConnState: t.count}, listener.Addr()
	t.tasks.Go(func() { _ = t.http.Serve(listener) }) // ends with Close
	return t, nil
}

func (t *Targets) open(listen func(network, address string) (net.Listener, error), port int) (net.Listener, error) {
	listener, err := listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("target on port %d: %w", port, err)
	}
	t.listeners = append(t.listeners, listener)
	return listener, nil
}

func (t *Targets) accept(listener net.Listener, serve func(net.Conn)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		// As for a crowd's apps: thousands of targets would be probed in bursts.
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetKeepAlive(false) // fails only if it is closed
		}
		if !t.hold(conn) {
			_ = conn.Close()
			return
		}
		t.tasks.Go(func() {
			defer t.drop(conn)
			serve(conn)
		})
	}
}

func (t *Targets) hold(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns[conn] = struct{}{}
	return !t.closed
}

func (t *Targets) drop(conn net.Conn) {
	_ = conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, conn)
}

// HTTPAddr returns the address of the HTTP target.
func (t *Targets) HTTPAddr() net.Addr { return t.httpAddr }

// Open returns how many connections the targets hold.
func (t *Targets) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.conns) + t.httpOpen
}

func (t *Targets) count(_ net.Conn, state http.ConnState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch state {
	case http.StateNew:
		t.httpOpen++
	case http.StateClosed, http.StateHijacked:
		t.httpOpen--
	}
}

// Release lets all transfers of /until-released finish. That includes transfers that
// start later, until [Targets.Hold].
func (t *Targets) Release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.released:
	default:
		close(t.released)
	}
}

// Hold makes transfers of /until-released that start from now on wait for the
// next [Targets.Release].
func (t *Targets) Hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.released = make(chan struct{})
}

// SetName sets the name with which the named target answers.
func (t *Targets) SetName(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.name = name
}

// Held returns how many requests of the named target wait for [Targets.Release].
func (t *Targets) Held() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held
}

func (t *Targets) gate() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.released
}

// Close ends the servers and their connections, and waits for both.
func (t *Targets) Close() error {
	t.Release()
	var errs []error
	for _, listener := range t.listeners {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if t.http != nil {
		if err := t.http.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	t.mu.Lock()
	t.closed = true
	for conn := range t.conns {
		_ = conn.Close()
	}
	t.mu.Unlock()
	t.tasks.Wait()
	return errors.Join(errs...)
}
