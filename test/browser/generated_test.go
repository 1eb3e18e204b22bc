// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"context"
	"iter"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/statusserver"
	"github.com/shoot-proxy/proxy-client/test/browser/sample"
)

// madeUp is a status server with made-up documents, in the client's pod.
type madeUp struct {
	sidecar sample.Sidecar
	address string
	// drains and lists count the drains, and the lists of connections that were asked for.
	drains, lists atomic.Int32
	stop          func()
}

// serve starts the real handler with made-up documents, until the test ends. change may
// change them.
func (r *rig) serve(t *testing.T, address string, sidecar sample.Sidecar, change func(*statusserver.Documents)) *madeUp {
	t.Helper()
	m := &madeUp{sidecar: sidecar}
	documents := sidecar.Documents(time.Now)
	list := documents.Connections
	documents.Connections = func() iter.Seq[status.Connection] {
		m.lists.Add(1)
		return list()
	}
	if change != nil {
		change(&documents)
	}
	cfg := statusserver.Config{Documents: documents, Drain: func(string) { m.drains.Add(1) }, Logger: slog.New(slog.DiscardHandler)}
	var server *statusserver.Server
	err := r.Pod.Do(func() (err error) {
		server, err = statusserver.Listen(address, cfg)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	m.address = server.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	stopped := false
	m.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the status server ended: %v", err)
		}
	}
	t.Cleanup(m.stop)
	return m
}

// trouble returns a sidecar in which much is wrong.
func trouble(connections int) sample.Sidecar {
	return sample.Sidecar{Instance: "first", Started: time.Now().Add(-3 * time.Hour), Connections: connections, Trouble: true}
}

// all returns the connections that the server makes up, without what changes with time.
func (m *madeUp) all() []status.Connection {
	var all []status.Connection
	for c := range m.sidecar.Each(time.Now()) {
		all = append(all, c)
	}
	return all
}
