// SPDX-License-Identifier: Apache-2.0

package target

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// dripInterval is the time between two writes of /until-released. Each is some kilobytes,
// so that the connection is always busy and never loads the machine.
const dripInterval = 5 * time.Millisecond

func (t *Targets) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "hello from the shoot; you called %s\n", r.Host)
	})
	mux.HandleFunc("GET /file", file)
	mux.HandleFunc("PUT /upload", upload)
	mux.HandleFunc("GET /until-released", t.untilReleased)
	mux.HandleFunc("GET /metrics", metrics)
	return mux
}

// file sends the first N bytes of the pattern.
func file(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.FormValue("bytes"), 10, 64)
	if err != nil {
		http.Error(w, "bytes=N is missing", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	_, _ = io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(Pattern(), n), make([]byte, 128<<10))
}

// upload answers with the length and SHA-256 of what it got.
func upload(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	n, err := io.Copy(hash, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = fmt.Fprintf(w, "%d %s\n", n, hex.EncodeToString(hash.Sum(nil)))
}

// untilReleased sends the pattern steadily until Release is called, and then ends
// cleanly. The chunked encoding shows the client whether the end was clean.
func (t *Targets) untilReleased(w http.ResponseWriter, r *http.Request) {
	gate := t.gate()
	ticker := time.NewTicker(dripInterval)
	defer ticker.Stop()
	stream := Pattern()
	for {
		if _, err := io.CopyN(w, stream, 8<<10); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-gate:
			return
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}

func metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = io.WriteString(w, "# HELP target_info A target in the shoot.\n# TYPE target_info gauge\ntarget_info 1\n")
}
