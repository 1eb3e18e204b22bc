// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// traffic is what the apps of one pod do. Each worker makes one connection, or one burst,
// after the other. A slow machine therefore does less.
type traffic struct {
	pod    *lab.Namespace
	report func(outcome) // called for each connection that ended
	ids    atomic.Uint64 // the number of the last connection
	seed   uint64
	exits  bool // whether everything goes through exits

	stopping chan struct{}
	workers  sync.WaitGroup
}

// habit is one way in which apps behave.
type habit struct {
	name   string
	weight int
	run    func(w *worker)
}

// lane is a number of workers that choose from the same habits.
type lane struct {
	name    string
	workers int
	think   time.Duration // on average, between two choices
	habits  []habit
}

// lanes separates the heavy habits from the quick ones, so that the number of heavy ones
// is bounded. Bytes cost the machine more than connections.
func lanes() []lane {
	const ms = time.Millisecond
	return []lane{
		{"quick", 6, 150 * ms, []habit{
			{"request and answer", 30, (*worker).request},
			{"speaks first", 8, (*worker).greeted},
			{"banner and close", 8, (*worker).banner},
			{"half-closes", 6, (*worker).halfClose},
			{"sends and closes", 6, (*worker).sendAndClose},
			{"resets", 6, (*worker).reset},
			{"closes at once", 6, (*worker).closeAtOnce},
			{"burst of dials", 4, (*worker).burst},
			{"refused", 4, (*worker).refused},
			{"no route", 2, (*worker).unroutable},
		}},
		{"long", 2, 100 * ms, []habit{{"keep-alive", 1, (*worker).keepAlive}}},
		{"idle", 4, 100 * ms, []habit{
			{"idle", 2, (*worker).idle},
			{"half-closes and waits", 1, (*worker).halfCloseAndWait},
		}},
		{"bulk", 2, 300 * ms, []habit{
			{"download", 4, (*worker).download},
			{"upload", 4, (*worker).upload},
			{"slow reader", 2, (*worker).slowReader},
			{"curl download", 2, (*worker).curlGet},
			{"curl upload", 2, (*worker).curlPut},
		}},
		{"odd", 1, 500 * ms, []habit{
			{"stops reading", 2, (*worker).stopReading},
			{"black hole", 2, (*worker).blackHole},
			{"flood of a dead target", 1, (*worker).flood},
			{"waits for EOF to answer", 1, (*worker).afterEOF},
		}},
	}
}

// worker makes the connections of one app after another.
type worker struct {
	*traffic
	ctx  context.Context
	rand *rand.Rand
	kind string
}

// worker returns a worker with a kind of its own.
func (t *traffic) worker(ctx context.Context, kind string) *worker {
	return &worker{traffic: t, ctx: ctx, kind: kind, rand: rand.New(rand.NewPCG(t.seed, t.ids.Load()))}
}

// start begins the traffic, which goes on until stop.
func (t *traffic) start(ctx context.Context) {
	t.stopping = make(chan struct{})
	for i, l := range lanes() {
		for j := range l.workers {
			w := &worker{traffic: t, ctx: ctx, rand: rand.New(rand.NewPCG(t.seed, uint64(100*i+j)))}
			t.workers.Go(func() { w.work(l) })
		}
	}
}

// stop lets the workers finish their connections, and waits for them.
func (t *traffic) stop() {
	close(t.stopping)
	t.workers.Wait()
}

func (w *worker) work(l lane) {
	total := 0
	for _, h := range l.habits {
		total += h.weight
	}
	for w.ctx.Err() == nil {
		n := w.rand.IntN(total)
		for _, h := range l.habits {
			if n -= h.weight; n < 0 {
				w.kind = h.name
				h.run(w)
				break
			}
		}
		if !w.think(time.Duration(w.rand.Int64N(int64(2 * l.think)))) {
			return
		}
	}
}

// think pauses. If the traffic is to stop, it returns false at once.
func (w *worker) think(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.stopping:
		return false
	case <-w.ctx.Done():
		return false
	}
}

// newOutcome returns the first state of a connection to a port of a random address with
// targets.
func (w *worker) newOutcome(e expectation, to netip.AddrPort) outcome {
	return outcome{kind: w.kind, expected: e, id: w.ids.Add(1) + greetID, to: to}
}

// somewhere returns a random address of the shoot: a pod, a service or a node, in either
// family.
func (w *worker) somewhere(port int) netip.AddrPort {
	f := lab.DualStack.Each()[w.rand.IntN(2)]
	switch w.rand.IntN(6) {
	case 0:
		return at(lab.ShootService(f), port)
	case 1:
		return at(lab.ShootNode(f), port)
	default:
		return at(lab.ShootPod(f, 1+w.rand.IntN(lab.PodAddresses)), port)
	}
}

// open connects and sends a script.
func (w *worker) open(e expectation, port int, s script) *app {
	o := w.newOutcome(e, w.somewhere(port))
	s.id, o.want = o.id, s.answers()
	a := dial(w.ctx, w.pod.DialContext, o)
	a.say(s.String())
	return a
}

// done reports a connection that has ended.
func (w *worker) done(a *app) {
	if !a.over() {
		a.end(oddEnd, fmt.Errorf("the app forgot to end it"))
	}
	w.report(a.outcome)
}
