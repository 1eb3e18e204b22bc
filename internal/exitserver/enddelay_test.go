// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestEndDelay: an exit that is told to end is not ready, and for a while serves clients
// that are sent to it all the same. Only after that they have to go.
func TestEndDelay(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, func(c *Config) { c.EndDelay = time.Hour })
	target := listenEcho(t)
	before := open(t, e.connect(t, "app"), target)
	done := make(chan error, 1)
	go func() { done <- e.stop() }()
	waittest.Eventually(t, "the exit is not ready", func() bool { return e.Ready() != nil })
	late := e.connect(t, "app")
	u := open(t, late, target)
	u.echo(t, "late")
	before.echo(t, "before")
	if !late.CanTakeNewRequest() {
		t.Error("the late client was told to go")
	}
	e.Abort() // ends the delay
	if err := waittest.Await(t, done, "the end"); err != nil {
		t.Error(err)
	}
}

// TestEndDelayIsOver: the delay ends by itself, and there is none without clients.
func TestEndDelayIsOver(t *testing.T) {
	t.Parallel()
	alone := newExit(t, allowLoopback, func(c *Config) { c.EndDelay = time.Hour })
	if err := alone.stop(); err != nil {
		t.Error(err)
	}
	e := newExit(t, allowLoopback, func(c *Config) { c.EndDelay = 10 * time.Millisecond })
	client := e.connect(t, "app")
	open(t, client, listenEcho(t)).echo(t, "x")
	go func() { _ = e.stop() }()
	waittest.Eventually(t, "GOAWAY", func() bool { return !client.CanTakeNewRequest() })
}
