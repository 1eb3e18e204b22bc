// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"sync"

	"github.com/shoot-proxy/proxy-client/internal/h2server"
)

// usage counts connections, streams and memory, in total and for each client.
type usage struct {
	limits Limits
	memory *h2server.Memory

	mu          sync.Mutex
	connections int
	streams     int
	clients     map[string]*clientUsage // clients with a connection
}

// clientUsage is what one client uses.
type clientUsage struct {
	connections, streams int
	memory               *h2server.Share
}

func newUsage(limits Limits) *usage {
	return &usage{limits: limits, memory: h2server.NewMemory(limits.Buffer), clients: map[string]*clientUsage{}}
}

// addConnection counts a connection of a client, and returns the client's share of the
// memory. If there are too many connections, it counts nothing, and problem says of which.
func (u *usage) addConnection(client string) (memory *h2server.Share, problem string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of := u.clients[client]
	switch {
	case u.connections >= u.limits.Connections:
		return nil, "the exit has as many connections as it may have"
	case of != nil && of.connections >= u.limits.ClientConnections:
		return nil, "the client has as many connections as one client may have"
	case of == nil:
		of = &clientUsage{memory: u.memory.NewShare()}
		u.clients[client] = of
	}
	u.connections++
	of.connections++
	return of.memory, ""
}

// removeConnection is called once for each connection that was counted, after its streams
// have ended.
func (u *usage) removeConnection(client string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of := u.clients[client]
	u.connections--
	of.connections--
	if of.connections == 0 {
		delete(u.clients, client)
	}
}

// addStream counts a stream of a client that has a connection.
func (u *usage) addStream(client string) (problem string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of := u.clients[client]
	switch {
	case u.streams >= u.limits.Streams:
		return "the exit has as many streams as it may have"
	case of.streams >= u.limits.ClientStreams:
		return "the client has as many streams as one client may have"
	}
	u.streams++
	of.streams++
	return ""
}

// removeStream is called once for each stream that was counted.
func (u *usage) removeStream(client string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.streams--
	u.clients[client].streams--
}

// mostMemory returns the most memory that one client uses, in bytes.
func (u *usage) mostMemory() (most int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, of := range u.clients {
		most = max(most, of.memory.Used())
	}
	return most
}
