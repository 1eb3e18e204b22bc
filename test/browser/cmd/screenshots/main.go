// SPDX-License-Identifier: Apache-2.0

// Command screenshots makes the pictures of the status page in docs/: the real page, in
// Chromium, with the documents of package sample.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/statuspage"
	"github.com/shoot-proxy/proxy-client/test/browser/chromium"
	"github.com/shoot-proxy/proxy-client/test/browser/sample"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// pictures are what is made.
var pictures = []struct {
	name    string
	trouble bool
	view    chromium.View
	// from is the section at the top; the page's beginning if empty.
	from string
}{
	{name: "status-page", trouble: true, view: chromium.View{Width: 1280, Height: 940, Still: true}},
	{name: "status-page-dark", view: chromium.View{Width: 1280, Height: 940, Dark: true, Still: true}},
	{name: "status-page-connections", trouble: true, view: chromium.View{Width: 1280, Height: 560, Still: true}, from: "connections"},
	{name: "status-page-phone", trouble: true, view: chromium.View{Width: 360, Height: 740, Scale: 1.5, Still: true}},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) != 1 {
		return errors.New("the argument is the folder for the pictures")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	l, err := lab.New(ctx, lab.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	browser, err := chromium.Start(ctx, l.Pod, filepath.Join(l.Dir, "chromium"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, browser.Close()) }()
	for i, picture := range pictures {
		address, err := serve(l, 14100+i, picture.trouble)
		if err != nil {
			return err
		}
		content, err := take(ctx, browser, "http://"+address+"/", picture.view, picture.from)
		if err != nil {
			return fmt.Errorf("%s: %w", picture.name, err)
		}
		if err := os.WriteFile(filepath.Join(args[0], picture.name+".webp"), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// moment is that of all documents, so that each run makes the same pictures.
var moment = time.Date(2026, 11, 28, 14, 32, 8, 0, time.UTC)

// serve serves the page with documents that never change, until the lab ends.
func serve(l *lab.Lab, port int, trouble bool) (string, error) {
	sidecar := sample.Sidecar{Instance: "sample", Started: moment.Add(-200 * time.Minute), Connections: 412, Trouble: trouble}
	index, err := statuspage.Index("sample")
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", index)
	mux.Handle("GET /assets/", statuspage.Assets())
	for path, document := range map[string]any{
		"configuration": sidecar.Configuration(),
		"state":         sidecar.State(moment),
		"failures":      status.Failures{Instance: sidecar.Instance, Now: moment, Failures: sidecar.Failures(moment)},
		"history":       sidecar.History(moment),
	} {
		mux.HandleFunc("GET /"+path, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(document) })
	}
	// The page computes rates from two lists: the first is of one second before.
	var asked atomic.Bool
	mux.HandleFunc("GET /connections", func(w http.ResponseWriter, _ *http.Request) {
		at := moment
		if asked.CompareAndSwap(false, true) {
			at = moment.Add(-time.Second)
		}
		_ = json.NewEncoder(w).Encode(connections(sidecar, at))
	})
	listener, err := l.Pod.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }()
	l.OnClose(server.Close)
	return listener.Addr().String(), nil
}

func connections(sidecar sample.Sidecar, at time.Time) status.Connections {
	all := status.Connections{Instance: sidecar.Instance, Now: at}
	for c := range sidecar.Each(at) {
		all.Connections = append(all.Connections, c)
	}
	return all
}

func take(ctx context.Context, browser *chromium.Browser, url string, view chromium.View, from string) ([]byte, error) {
	page, err := browser.Open(ctx, view)
	if err != nil {
		return nil, err
	}
	if err := page.Go(ctx, url); err != nil {
		return nil, err
	}
	// The page asks for the connections once they are in sight. When the third list has
	// come, the second is shown.
	if err := page.Value(ctx, nil, `document.querySelector("#connections").scrollIntoView()`); err != nil {
		return nil, err
	}
	const complete = `document.querySelector("#instance").textContent && document.querySelector(".plot .line") &&
		performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/connections")).length > 2`
	if err := page.Until(ctx, complete); err != nil {
		return nil, err
	}
	if err := page.Value(ctx, nil, `scrollTo({ top: 0, behavior: "instant" })`); err != nil {
		return nil, err
	}
	if problems := page.Problems(); len(problems) > 0 {
		return nil, fmt.Errorf("the page has problems: %q", problems)
	}
	if from != "" {
		if err := page.Value(ctx, nil, fmt.Sprintf("document.getElementById(%q).scrollIntoView()", from)); err != nil {
			return nil, err
		}
	}
	return page.Picture(ctx, "webp", false)
}
