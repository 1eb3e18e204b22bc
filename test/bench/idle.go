// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

const (
	// holdAt is how many connections are opened at a time.
	holdAt = 16
	// spareFiles is how many other files a process that holds the connections has open.
	spareFiles = 400
	// exitStreams is how many connections are held through an exit. It allows one client 8,192.
	exitStreams = 8000
)

// step is what a contender needed up to a number of connections.
type step struct {
	connections  float64
	seconds, cpu float64 // since the first connection
	worst        float64 // set-up in ms
	memory       float64 // anonymous, in bytes
	exit         float64 // the exit's, if there is one
}

// idle lets each contender for which that is informative hold many connections.
func (b *bench) idle(ctx context.Context) error {
	rounds := b.cfg.Scale.sizes().holding
	began := time.Now()
	for round := range rounds {
		for i := range b.rivals {
			r := b.rivals[(i+round)%len(b.rivals)]
			if r.name == Direct || r.name == StockGRPC || !b.cfg.enters(r.name) { // nothing to grow, and a process full of TLS connections
				continue
			}
			if err := b.hold(ctx, r); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	b.say("%-12s %s", workHold, time.Since(began).Round(time.Second))
	return nil
}

// hold opens connections in steps, and closes them.
func (b *bench) hold(ctx context.Context, r rival) (err error) {
	if err := r.site.restart(ctx); err != nil {
		return err
	}
	if err := r.site.quiet(ctx); err != nil {
		return err
	}
	var steps [3]step
	var last step
	for i, n := range b.steps(r) {
		s := last
		s.connections = float64(n)
		before, err := cpuOf(r)
		if err != nil {
			return err
		}
		figures, err := r.driver.do(Job{Client: r.client, Work: Work{
			Do: workHold, Host: lab.ShootPod(lab.IPv4, 1).String(), Port: echoPort, N: n - int(last.connections), At: holdAt,
		}})
		if err != nil {
			return err
		}
		after, err := cpuOf(r)
		if err != nil {
			return err
		}
		s.seconds += figures["seconds"]
		s.worst = max(s.worst, figures["worst-ms"])
		s.cpu += (after - before).Seconds()
		if r.sidecar != nil {
			time.Sleep(b.cfg.Scale.sizes().settle) // the memory at rest is measured
			if _, s.memory, err = memory(r.sidecar().PID()); err != nil {
				return err
			}
			if r.exit != nil {
				if _, s.exit, err = memory(r.exit.PID()); err != nil {
					return err
				}
			}
		}
		steps[i], last = s, s
	}
	b.results.grow(r.name, steps)
	if _, err := r.driver.do(Job{Client: r.client, Work: Work{Do: workLetGo}}); err != nil {
		return err
	}
	return r.site.quiet(ctx)
}

func cpuOf(r rival) (time.Duration, error) {
	if r.sidecar == nil {
		return 0, nil
	}
	return cpu(r.sidecar().PID())
}

// steps returns the numbers of connections to hold: 1,000, 5,000 and 10,000. If a process
// may not open enough files, or an exit allows fewer, it returns lower ones. A sidecar in
// http-connect mode needs two files for each connection.
func (b *bench) steps(r rival) [3]int {
	steps := b.cfg.Scale.sizes().idle
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return steps
	}
	each := 1
	if r.name == SOCKS5Sidecar || r.name == OursConnect {
		each = 2
	}
	most := (int(limit.Max) - spareFiles) / each / 500 * 500
	if r.exit != nil {
		most = min(most, exitStreams)
	}
	for i := range steps {
		steps[i] = min(steps[i], most)
	}
	return steps
}

// grow records the results of the steps.
func (r *Results) grow(name Contender, steps [3]step) {
	a, b, c := steps[0], steps[1], steps[2]
	r.Steps[name] = append(r.Steps[name], [3]float64{a.connections, b.connections, c.connections})
	growth := func(figure string, of func(step) float64) {
		early := (of(b) - of(a)) / (b.connections - a.connections)
		late := (of(c) - of(b)) / (c.connections - b.connections)
		if early > 0 && late > 0 { // with very few connections there may be no visible growth
			r.add(figure, name, max(early, late)/min(early, late))
		}
	}
	r.add(HoldWorstMS, name, c.worst)
	growth(SetupGrowth, func(s step) float64 { return s.seconds })
	if c.memory == 0 {
		return
	}
	growth(CPUGrowth, func(s step) float64 { return s.cpu })
	growth(MemoryGrowth, func(s step) float64 { return s.memory })
	r.add(IdleMemory, name, (c.memory-a.memory)/(c.connections-a.connections)/1024)
	if c.exit != 0 {
		r.add(ExitMemory, name, (c.exit-a.exit)/(c.connections-a.connections)/1024)
	}
}
