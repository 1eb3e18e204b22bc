// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// quietWithin bounds the wait for quiet. Half-closed apps are given up after halfClosed,
// and an unanswered dial after dialBudget.
const quietWithin = 3 * time.Minute

// footprint is what a sidecar without connections uses.
type footprint struct {
	goroutines, fds float64
	heap            float64 // bytes alive, directly after a collection
	rss             float64 // bytes
}

// Limits of a footprint's growth between the end of the warm-up and the end of the run,
// with the reasons:
const (
	// Reading the metrics is a connection with goroutines of its own, http-connect keeps
	// some connections ready, and a replaced gRPC connection lives for a moment. Leaks
	// are counted in hundreds after minutes of traffic.
	moreGoroutines = 12
	moreFDs        = 8
	// Maps and pools keep their size. A leaked connection holds 32 KiB and more.
	moreHeap = 8 << 20
	// The runtime gives memory back to the kernel slowly. --total-buffer bounds the peak,
	// and README.md's limit of the container is twice that.
	mostRSS = 512 << 20
	// The default of --total-buffer.
	mostBuffered = 256 << 20
)

// readFootprint makes the sidecar collect its garbage twice, and then reads. Once is not
// enough for what its pools hold. It does so by asking for many metrics.
func (s *site) readFootprint(ctx context.Context) (footprint, error) {
	return readFootprint(ctx, s.lab.SidecarMetrics)
}

// readFootprint does the same for a process with these metrics.
func readFootprint(ctx context.Context, read func(context.Context) (lab.Metrics, error)) (footprint, error) {
	const collections = "go_gc_duration_seconds_count"
	first, err := read(ctx)
	if err != nil {
		return footprint{}, err
	}
	for _, name := range []string{collections, "go_goroutines", "process_open_fds", "go_memstats_heap_alloc_bytes", "process_resident_memory_bytes"} {
		if _, ok := first[name]; !ok {
			return footprint{}, fmt.Errorf("the process has no metric %s", name)
		}
	}
	for ctx.Err() == nil {
		m, err := read(ctx)
		if err != nil {
			return footprint{}, err
		}
		if m[collections] >= first[collections]+2 {
			return footprint{
				goroutines: m["go_goroutines"], fds: m["process_open_fds"],
				heap: m["go_memstats_heap_alloc_bytes"], rss: m["process_resident_memory_bytes"],
			}, nil
		}
	}
	return footprint{}, fmt.Errorf("the process does not collect its garbage: %w", ctx.Err())
}

// grown returns an error if now is larger than before by more than the limits allow.
func (f footprint) grown(now footprint) error {
	var errs []error
	more := func(what string, was, is, slack float64) {
		if is > was+slack {
			errs = append(errs, fmt.Errorf("%s: %.0f, after the warm-up %.0f (slack %.0f)", what, is, was, slack))
		}
	}
	more("goroutines", f.goroutines, now.goroutines, moreGoroutines)
	more("open file descriptors", f.fds, now.fds, moreFDs)
	more("live heap in bytes", f.heap, now.heap, moreHeap)
	return errors.Join(errs...)
}

func (f footprint) String() string {
	return fmt.Sprintf("%.0f goroutines, %.0f descriptors, %.1f MiB live heap, %.0f MiB resident",
		f.goroutines, f.fds, f.heap/(1<<20), f.rss/(1<<20))
}

// quiet waits until no connection is left in the sidecar, at a target, or at a peer.
func (s *site) quiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quietWithin)
	defer cancel()
	return lab.Poll(ctx, "all connections to end everywhere", func(ctx context.Context) error {
		if err := s.quietHere(ctx); err != nil {
			return err
		}
		// A server brings its gauges up to date only with its next connection
		// (removeEstablishedForStream and removeForStream of v0.36.0).
		if err := s.canaries(ctx); err != nil {
			return err
		}
		return lab.Poll(shortly(ctx), "the canaries to end", func(ctx context.Context) error {
			return errors.Join(s.quietHere(ctx), s.quietPeers(ctx))
		})
	})
}

// shortly returns a context for one of the attempts of a wait that polls.
func shortly(ctx context.Context) context.Context {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// quietHere checks the sidecar and the targets.
func (s *site) quietHere(ctx context.Context) error {
	m, err := s.lab.SidecarMetrics(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"proxy_client_connections_active", "proxy_client_buffered_bytes"} {
		if v, ok := m[name]; !ok || v != 0 {
			return fmt.Errorf("the sidecar's %s is %v", name, v)
		}
	}
	if n := s.far.open() + s.targets.Open(); n != 0 {
		return fmt.Errorf("targets still hold %d connections: %s", n, s.far.held())
	}
	return nil
}

// quietPeers checks upstream's gauges.
func (s *site) quietPeers(ctx context.Context) error {
	if s.exits != nil {
		return s.quietExits(ctx)
	}
	var errs []error
	none := func(who, gauge string, read func(context.Context) (lab.Metrics, error)) {
		m, err := read(ctx)
		if v := m.Sum(gauge); err == nil && v != 0 {
			err = fmt.Errorf("%s: %s is %v", who, gauge, v)
		}
		errs = append(errs, err)
	}
	for _, server := range s.lab.Servers {
		none(server.Name, lab.ServerEstablished, server.Metrics)
		none(server.Name, lab.ServerPending, server.Metrics)
	}
	for _, agent := range s.lab.Agents {
		none(agent.Name, lab.AgentEndpoints, agent.Metrics)
	}
	return errors.Join(errs...)
}
