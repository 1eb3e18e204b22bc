// SPDX-License-Identifier: Apache-2.0

package httpsproxy

import (
	"context"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// aliveTimeout bounds the question whether the proxy answers.
const aliveTimeout = 2 * time.Second

// alive asks whether a proxy answers at a moment. Connections that end together share a
// question: it is asked once at a time, and again for those that came meanwhile. The zero
// value is ready.
type alive struct {
	mu            sync.Mutex // guards the fields below
	current, next *question  // nil if there is none
}

// question is one greeting. Its error may be read when done is closed.
type question struct {
	done chan struct{}
	err  *tunnel.Error
}

// answers returns nil if the proxy answers a greeting that begins after the call.
func (d *Dialer) answers() *tunnel.Error {
	a := &d.alive
	a.mu.Lock()
	q := a.next
	if q == nil {
		q = &question{done: make(chan struct{})}
		if a.current == nil {
			a.current = q
			d.shared.Background.Go(d.ask)
		} else {
			a.next = q
		}
	}
	a.mu.Unlock()
	<-q.done
	return q.err
}

// ask asks until no question is left.
func (d *Dialer) ask() {
	a := &d.alive
	for {
		a.mu.Lock()
		q := a.current
		a.mu.Unlock()
		q.err = d.greet()
		close(q.done)
		a.mu.Lock()
		a.current, a.next = a.next, nil
		over := a.current == nil
		a.mu.Unlock()
		if over {
			return
		}
	}
}

// greet greets the proxy on a connection of its own.
func (d *Dialer) greet() *tunnel.Error {
	ctx, cancel := context.WithTimeout(d.shared.Life, aliveTimeout)
	defer cancel()
	conn, _, err := d.owner.Connect(ctx)
	if err != nil {
		return err
	}
	defer d.shared.Part(conn)
	_, err = http1.Greet(ctx, d.Endpoint, conn)
	return err
}
