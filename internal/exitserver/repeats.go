// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/repetition"
)

// maxDestinations is how many destinations of one client are told apart in the lines about
// repetitions. A client chooses them, and so could make lines without limit.
const maxDestinations = 16

// Messages of repeats.
const (
	oneRefused  = "a connection was refused"
	manyRefused = "connections were refused"
	oneGivenUp  = "a connection was given up"
	manyGivenUp = "connections were given up"
)

// repeats logs streams that were not made. The first ones of a client to a destination, for
// the same cause, get a line each, and further ones share a line. It does the same for failed
// handshakes, whose client is unknown: a certificate that was shown is their destination.
type repeats struct {
	log   *slog.Logger
	level slog.Level // of the shared lines
	what  string     // the name of a destination in them

	mu           sync.Mutex
	lines        map[repeatKey]*repeat
	destinations map[string]int // how many destinations lines has, by client
	timer        *time.Timer    // running if there are lines
	ended        bool
}

// repeatKey says which streams share a line.
type repeatKey struct {
	client      string // as it is counted
	destination string // empty for those beyond maxDestinations
	cause       string // a ProxyError, a CloseReason or a handshakeCause
}

// repeat is what is known of the streams of one repeatKey.
type repeat struct {
	repetition.Lines
	message string // about many
	name    string // of the client, for people; empty for handshakes
	last    time.Time
	values  []any // of the last line, which say why
}

func newRepeats(log *slog.Logger, level slog.Level, what string) *repeats {
	return &repeats{log: log, level: level, what: what, lines: map[repeatKey]*repeat{}, destinations: map[string]int{}}
}

// add counts a stream that was not made. It reports whether the caller is to log it. why is
// what a line about many of them says besides client and destination.
func (r *repeats) add(now time.Time, key repeatKey, name, message string, why []any) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return true
	}
	is := r.lines[key]
	if is == nil && r.destinations[key.client] >= maxDestinations {
		key.destination = ""
		is = r.lines[key]
	}
	if is == nil {
		is = &repeat{}
		r.lines[key] = is
		if key.destination != "" {
			r.destinations[key.client]++
		}
	}
	is.message, is.name, is.last, is.values = message, name, now, why
	if r.timer == nil {
		r.timer = time.AfterFunc(repetition.Interval, r.look)
	}
	return is.Add(now)
}

// look logs what is due, and looks again as long as there is something to look for. The
// timer calls it.
func (r *repeats) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	r.logDue(false)
	if len(r.lines) == 0 {
		r.timer = nil
		return
	}
	r.timer.Reset(repetition.Interval)
}

// end logs what was not logged. After it each stream gets a line.
func (r *repeats) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logDue(true)
	r.ended = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// logDue logs the lines that are due, or all, and forgets what has stopped. The caller holds
// mu.
func (r *repeats) logDue(all bool) {
	now := time.Now()
	for key, is := range r.lines {
		_, since := is.Silent()
		if times := is.Due(now, all); times > 0 {
			values := []any{"times", times, "within_seconds", is.last.Sub(since).Seconds()}
			if is.name != "" {
				values = append(values, "client", is.name)
			}
			if key.destination != "" {
				values = append(values, r.what, key.destination)
			}
			r.log.Log(context.Background(), r.level, is.message, append(values, is.values...)...)
		}
		if is.IsIdle(now) {
			r.forget(key)
		}
	}
}

// forget removes a line. The caller holds mu.
func (r *repeats) forget(key repeatKey) {
	delete(r.lines, key)
	if key.destination == "" {
		return
	}
	r.destinations[key.client]--
	if r.destinations[key.client] == 0 {
		delete(r.destinations, key.client)
	}
}
