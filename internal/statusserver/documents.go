// SPDX-License-Identifier: Apache-2.0

package statusserver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"iter"
	"net/http"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/internal/status"
)

// Documents are where the content of the JSON documents comes from. All fields but Exits are
// required. They are called at each request, from several goroutines.
type Documents struct {
	Instance      string
	Configuration func() status.Configuration // Instance is set by this package, here and below
	State         func() status.State
	Servers       func() []status.Server
	Exits         func() *status.Exits // nil, or a function that returns nil, if none is configured
	// Connections returns the connections one after the other, so that thousands take
	// little memory.
	Connections func() iter.Seq[status.Connection]
	Failures    func() []status.Failure
	History     func() status.History
}

// register adds the documents to mux.
func (d *Documents) register(mux *http.ServeMux) {
	document(mux, "GET /configuration", func() any {
		configuration := d.Configuration()
		configuration.Instance = d.Instance
		return configuration
	})
	document(mux, "GET /state", func() any {
		state := d.State()
		state.Instance, state.Now = d.Instance, time.Now()
		return state
	})
	document(mux, "GET /servers", func() any {
		servers := status.Servers{Instance: d.Instance, Now: time.Now(), Servers: d.Servers()}
		if d.Exits != nil {
			servers.Exits = d.Exits()
		}
		return servers
	})
	document(mux, "GET /failures", func() any {
		return status.Failures{Instance: d.Instance, Now: time.Now(), Failures: d.Failures()}
	})
	document(mux, "GET /history", func() any {
		history := d.History()
		history.Instance, history.Now = d.Instance, time.Now()
		return history
	})
	streams := make(chan struct{}, maxStreams)
	mux.HandleFunc("GET /connections", func(w http.ResponseWriter, r *http.Request) {
		select {
		case streams <- struct{}{}:
			defer func() { <-streams }()
		case <-r.Context().Done():
			return
		}
		d.streamConnections(w, r)
	})
}

// document adds a document that is small enough to be made at once.
func document(mux *http.ServeMux, pattern string, content func() any) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(content()) // the client may have gone
	})
}

const (
	// maxStreams is how many lists of connections are written at once. One of them may be
	// for a client that has stopped reading.
	maxStreams = 2
	// burst is how many connections are written until the data path gets the processor.
	// They take 50 µs.
	burst = 50
	// restFactor is how many times as long as a burst the rest after it is, up to maxRest.
	// So the list takes about a fifth of one processor, however many connections there are.
	restFactor = 4
	maxRest    = 2 * time.Millisecond
)

// streamConnections writes the list while it is made.
func (d *Documents) streamConnections(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	head, err := json.Marshal(status.Connections{Instance: d.Instance, Now: time.Now(), Connections: []status.Connection{}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	out := bufio.NewWriterSize(w, 32<<10)
	_, _ = out.Write(bytes.TrimSuffix(head, []byte("]}")))
	var line []byte
	written, began := 0, time.Now()
	for connection := range d.Connections() {
		line = append(appendConnection(line, &connection), '\n')
		if _, err := out.Write(line); err != nil || r.Context().Err() != nil {
			return // the client has gone
		}
		line = append(line[:0], ',')
		if written++; written%burst == 0 {
			pause.For(r.Context(), min(restFactor*time.Since(began), maxRest))
			began = time.Now()
		}
	}
	_, _ = out.WriteString("]}\n")
	_ = out.Flush()
}
