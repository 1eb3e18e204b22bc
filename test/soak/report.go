// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

const (
	progressInterval = 30 * time.Second
	sampleInterval   = 2 * time.Second
)

// peak is the highest of the readings during the run.
type peak struct {
	rss, buffered, goroutines float64
	silent                    int // number of samples in a row without an answer
}

// watch prints a line now and then, and checks what must be bounded at all times. The
// returned function ends it.
func (s *site) watch() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var task sync.WaitGroup
	task.Go(func() { s.watchClock(ctx) })
	task.Go(func() {
		var most peak
		next := time.Now().Add(progressInterval)
		for sleep(ctx, sampleInterval) {
			s.sample(ctx, &most)
			if time.Now().After(next) {
				next = next.Add(progressInterval)
				s.progress(most)
			}
		}
		s.progress(most)
		if most.buffered > mostBuffered {
			s.tally.note("the sidecar held back %.0f bytes, more than %d", most.buffered, mostBuffered)
		}
		if most.rss > mostRSS {
			s.tally.note("the sidecar took %.0f MiB of memory, more than %d", most.rss/(1<<20), mostRSS>>20)
		}
	})
	return func() {
		cancel()
		task.Wait()
	}
}

// watchClock records when this program did not run for long. The machine stood still
// then, with everything on it.
func (s *site) watchClock(ctx context.Context) {
	const step = 250 * time.Millisecond
	for {
		began := time.Now()
		if !sleep(ctx, step) {
			return
		}
		late := time.Since(began) - step
		s.stall.Store(max(s.stall.Load(), int64(late)))
		if late > breaking {
			s.journal.stalled(began)
		}
	}
}

func (s *site) sample(ctx context.Context, most *peak) {
	m, err := s.lab.SidecarMetrics(ctx)
	if err != nil {
		most.silent++
		if ctx.Err() == nil && most.silent == 10 {
			s.tally.note("the sidecar has not answered for its metrics ten times: %v", err)
		}
		return
	}
	most.silent = 0
	most.rss = max(most.rss, m["process_resident_memory_bytes"])
	most.buffered = max(most.buffered, m["proxy_client_buffered_bytes"])
	most.goroutines = max(most.goroutines, m["go_goroutines"])
}

func (s *site) progress(most peak) {
	c, found := s.tally.snapshot()
	disturbances, _ := s.journal.count()
	s.say("%d connections, %.1f MiB, %d disturbances, %d failures excused, %d findings; peak %.0f MiB resident, %.1f MiB buffered, %.0f goroutines; the machine stood still for %s at most",
		c.made, float64(c.sent+c.got)/(1<<20), disturbances, c.excused, found,
		most.rss/(1<<20), most.buffered/(1<<20), most.goroutines, time.Duration(s.stall.Load()).Round(10*time.Millisecond))
}

// summarize prints the counts of the run.
func (s *site) summarize(m lab.Metrics, reasons map[string]int, ghosts int) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  traffic\tconnections\texcused\twrong\tended in")
	s.tally.mu.Lock()
	for _, kind := range slices.Sorted(maps.Keys(s.tally.kinds)) {
		k := s.tally.kinds[kind]
		fmt.Fprintf(w, "  %s\t%d\t%d\t%d\t%s\n", kind, k.made, k.excused, k.broken, list(k.endings))
	}
	s.tally.mu.Unlock()
	_ = w.Flush() // a write to a buffer does not fail
	total, kinds := s.journal.count()
	fmt.Fprintf(&b, "  %d disturbances: %s\n", total, list(kinds))
	fmt.Fprintf(&b, "  the sidecar's log: %s\n", list(reasons))
	fmt.Fprintf(&b, "  failovers: %.0f; dials that reached a target twice, or whose app had gone: %d\n", m.Sum("proxy_client_failovers_total"), ghosts)
	s.say("summary\n%s", b.String())
}

// list returns a map's entries in the order of their keys.
func list[K ~string, V any](m map[K]V) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf("%s %v", key, m[key]))
	}
	return strings.Join(all, ", ")
}
