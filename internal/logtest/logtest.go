// SPDX-License-Identifier: Apache-2.0

// Package logtest keeps the log of the code under test, so that a test can look at it.
//
// It owns the memory that the log is written to. It never changes a line, and nothing but
// tests imports it.
//
//	log := &logtest.Buffer{}
//	serve(log.Logger(slog.LevelInfo))
//	lines := log.Lines(t, "ready")
package logtest

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// Buffer is a log that several goroutines may write and read. Its zero value is empty and
// ready for use.
type Buffer struct {
	mu    sync.Mutex // guards all below
	text  bytes.Buffer
	added chan struct{}
}

// Write appends p. It never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.notice() <- struct{}{}:
	default: // the last notice still waits for a reader
	}
	return b.text.Write(p)
}

// Added returns a channel that has an element if something was written since the last
// receive. The channel is always the same one.
func (b *Buffer) Added() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.notice()
}

// notice returns the channel of Added. The caller holds the mutex.
func (b *Buffer) notice() chan struct{} {
	if b.added == nil {
		b.added = make(chan struct{}, 1)
	}
	return b.added
}

// String returns everything that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Logger returns a logger that writes lines of JSON, from a level on.
func (b *Buffer) Logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: level}))
}

// Lines returns the lines with a message, each as the object that it is in JSON. It fails
// the test if a line of the log is no JSON.
func (b *Buffer) Lines(t testing.TB, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for text := range strings.Lines(b.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("the log has a line that is no JSON: %q", text)
		}
		if line["msg"] == message {
			found = append(found, line)
		}
	}
	return found
}
