// SPDX-License-Identifier: Apache-2.0

package exitserver

import "sync"

// usage counts connections and streams, in total and for each client.
type usage struct {
	limits Limits

	mu          sync.Mutex
	connections int
	streams     int
	clients     map[string]*clientUsage // clients with a connection
}

// clientUsage is what one client uses.
type clientUsage struct{ connections, streams int }

func newUsage(limits Limits) *usage {
	return &usage{limits: limits, clients: map[string]*clientUsage{}}
}

// addConnection counts a connection of a client, unless there are too many. problem says
// of what there are too many, or is empty.
func (u *usage) addConnection(client string) (problem string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of := u.clients[client]
	switch {
	case u.connections >= u.limits.Connections:
		return "the exit has as many connections as it may have"
	case of != nil && of.connections >= u.limits.ClientConnections:
		return "the client has as many connections as one client may have"
	case of == nil:
		of = &clientUsage{}
		u.clients[client] = of
	}
	u.connections++
	of.connections++
	return ""
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
