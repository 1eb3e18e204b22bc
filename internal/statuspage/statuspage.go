// SPDX-License-Identifier: Apache-2.0

// Package statuspage has the status page: HTML, styles and scripts, embedded in the
// program. It needs no other host and no build step.
//
//	mux.Handle("GET /{$}", statuspage.Index(token))
//	mux.Handle("GET /assets/", statuspage.Assets())
//
// The page reads the documents of package status from its own origin. It owns no data.
package statuspage

import (
	"bytes"
	"embed"
	"fmt"
	"html"
	"net/http"
)

//go:embed assets
var files embed.FS

// tokenMark is the place in index.html where the token of this start belongs.
const tokenMark = "DRAIN_TOKEN"

// Index returns the handler of the page itself. The page has token, which a drain needs.
func Index(token string) (http.Handler, error) {
	page, err := files.ReadFile("assets/index.html")
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(page, []byte(tokenMark)); n != 1 {
		return nil, fmt.Errorf("index.html has %d places for the token, not 1", n)
	}
	page = bytes.Replace(page, []byte(tokenMark), []byte(html.EscapeString(token)), 1)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page) // the client may have gone
	}), nil
}

// Assets returns the handler of the files that the page refers to as assets/NAME.
func Assets() http.Handler { return http.FileServerFS(files) }
