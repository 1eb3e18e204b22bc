// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Relay passes TCP connections on and can delay their bytes. It is needed because the
// kernel of the project's machines has no netem.
type Relay struct {
	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)
	delay    atomic.Int64 // nanoseconds, in each direction
	ctx      context.Context
	end      context.CancelFunc
	tasks    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Relay listens on one address of the namespace. For each connection it connects to
// another address, until the lab or the relay is closed.
func (n *Namespace) Relay(listen, to string) (*Relay, error) {
	listener, err := n.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("relay to %s: %w", to, err)
	}
	r := &Relay{listener: listener, conns: map[net.Conn]struct{}{}}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.dial = func(ctx context.Context) (net.Conn, error) { return n.DialContext(ctx, "tcp", to) }
	r.tasks.Go(r.accept)
	n.lab.OnClose(r.Close)
	return r, nil
}

// startAgentRelay puts a relay before the address that the agents dial.
func (l *Lab) startAgentRelay() (err error) {
	entry := l.agentEntry()
	l.agentRelay, err = l.Seed.Relay(entry.String(), fmt.Sprintf("%s:%d", entry.Addr(), agentPort))
	return err
}

// AgentDelay delays the bytes between agents and servers, in each direction, from now on.
// It needs Options.AgentRelay.
func (l *Lab) AgentDelay(d time.Duration) { l.agentRelay.SetDelay(d) }

// SetDelay delays, in each direction, what arrives from now on.
func (r *Relay) SetDelay(d time.Duration) { r.delay.Store(int64(d)) }

// Connections returns how many connections the relay passes on.
func (r *Relay) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns) / 2
}

// Reset ends all present connections with a reset on both sides.
func (r *Relay) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

// Close stops listening, resets all connections and waits for their end.
func (r *Relay) Close() error {
	err := r.listener.Close()
	r.end()
	r.Reset()
	r.tasks.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (r *Relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return // the listener is closed
		}
		r.tasks.Go(func() { r.serve(near) })
	}
}

func (r *Relay) serve(near net.Conn) {
	defer near.Close()
	far, err := r.dial(r.ctx)
	if err != nil {
		return
	}
	defer far.Close()
	r.hold(near, far)
	defer r.drop(near, far)
	if r.ctx.Err() != nil {
		return // the relay was closed before Reset could see them
	}
	var ways sync.WaitGroup
	ways.Go(func() { r.pass(far, near) })
	ways.Go(func() { r.pass(near, far) })
	ways.Wait()
}

func (r *Relay) hold(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		r.conns[c] = struct{}{}
	}
}

func (r *Relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		delete(r.conns, c)
	}
}

// parcel is bytes that are due at some time. Without bytes it is the end of the
// connection, which is a clean one if err is nil.
type parcel struct {
	due   time.Time
	bytes []byte
	err   error
}

// pass writes to to what it reads from from, in order and each byte at its time. A reset
// on one side becomes a reset on the other.
func (r *Relay) pass(to, from net.Conn) {
	parcels := make(chan parcel, 256)
	var reader sync.WaitGroup
	reader.Go(func() { r.read(from, parcels) })
	defer reader.Wait()
	for p := range parcels {
		if wait := time.Until(p.due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-r.ctx.Done():
			}
		}
		switch {
		case p.err != nil:
			_ = to.(*net.TCPConn).SetLinger(0)
			_ = to.Close()
			return
		case p.bytes == nil:
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
		if _, err := to.Write(p.bytes); err != nil {
			_ = from.(*net.TCPConn).SetLinger(0)
			_ = from.Close()
			for range parcels { // the reader may wait for room
			}
			return
		}
	}
}

func (r *Relay) read(from net.Conn, parcels chan<- parcel) {
	defer close(parcels)
	for {
		buffer := make([]byte, 32<<10)
		n, err := from.Read(buffer)
		due := time.Now().Add(time.Duration(r.delay.Load()))
		for _, p := range []parcel{{due: due, bytes: buffer[:n]}, {due: due, err: err}} {
			if len(p.bytes) == 0 && p.err == nil {
				continue
			}
			if errors.Is(p.err, io.EOF) {
				p.err = nil
			}
			select {
			case parcels <- p:
			case <-r.ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}
