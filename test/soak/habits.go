// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"net/netip"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// size returns a random number of bytes. Small sizes are as likely as large ones.
func (w *worker) size(low, high int64) int64 {
	n := low
	for n < high && w.rand.IntN(3) != 0 {
		n *= 2
	}
	return min(high, n+w.rand.Int64N(n))
}

// play runs a script to its end: every round, and then the close by the side that has to
// close.
func (w *worker) play(a *app, s script, think time.Duration) {
	for i := range s.rounds {
		if i > 0 && think > 0 {
			w.think(time.Duration(w.rand.Int64N(int64(2 * think))))
		}
		a.send(s.up)
		a.receive(s.down, 0)
	}
	if s.targetCloses {
		a.receiveEnd()
	} else {
		a.leave()
	}
}

func (w *worker) simple(s script) {
	a := w.open(whole, scriptPort, s)
	w.play(a, s, 0)
	w.done(a)
}

// request is one request and its answer, as most connections are.
func (w *worker) request() {
	w.simple(script{up: w.size(50, 8<<10), down: w.size(100, 128<<10), rounds: 1, targetCloses: w.rand.IntN(2) == 0})
}

// keepAlive sends requests on one connection, with pauses.
func (w *worker) keepAlive() {
	s := script{up: w.size(50, 2<<10), down: w.size(50, 8<<10), rounds: 20 + w.rand.Int64N(60)}
	a := w.open(whole, scriptPort, s)
	w.play(a, s, 150*time.Millisecond)
	w.done(a)
}

// idle is silent and then goes on. Its silence is longer than many disturbances, and
// longer than TCP waits before it probes a silent peer.
func (w *worker) idle() {
	s := script{up: 100, down: 100, rounds: 2}
	a := w.open(whole, scriptPort, s)
	w.play(a, s, 15*time.Second)
	w.done(a)
}

// greeted reads before it writes.
func (w *worker) greeted() {
	s := script{up: w.size(50, 2<<10), down: w.size(50, 32<<10), rounds: 1 + w.rand.Int64N(3), targetCloses: true}
	o := w.newOutcome(whole, w.somewhere(greetPort))
	s.id, o.greeting, o.want = o.id, greetLength, greetLength+s.answers()
	a := dial(w.ctx, w.pod.DialContext, o)
	mine := a.check
	a.check = newChecker(greetID, toApp)
	a.receive(greetLength, 0)
	a.check = mine
	a.say(s.String())
	w.play(a, s, 0)
	w.done(a)
}

// banner reads from a target that writes and closes at once.
func (w *worker) banner() {
	o := w.newOutcome(whole, w.somewhere(target.SpeakFirstPort))
	o.id, o.want = 0, int64(len(target.Banner))
	a := dial(w.ctx, w.pod.DialContext, o)
	a.check = newTextChecker(target.Banner)
	a.receiveEnd()
	w.done(a)
}

// halfClose sends its request and FIN, and waits for the answer.
func (w *worker) halfClose() {
	s := script{up: w.size(50, 8<<10), down: w.size(2, 64<<10), rounds: 1, pause: 300 * time.Millisecond, targetCloses: true}
	a := w.open(whole, scriptPort, s)
	a.send(s.up)
	a.finish()
	a.receiveEnd()
	w.done(a)
}

// halfCloseAndWait does the same with a slow answer, though one within
// --half-close-timeout.
func (w *worker) halfCloseAndWait() {
	s := script{up: w.size(50, 8<<10), down: w.size(2, 64<<10), rounds: 1, targetCloses: true}
	s.pause = 2*time.Second + time.Duration(w.rand.Int64N(int64(4*time.Second))).Round(time.Millisecond)
	a := w.open(whole, scriptPort, s)
	a.send(s.up)
	a.finish()
	a.receiveEnd()
	w.done(a)
}

// sendAndClose behaves as statsd clients and many loggers do. No answer tells the app
// that its bytes have arrived.
func (w *worker) sendAndClose() {
	s := script{up: w.size(20, 256<<10), rounds: 1}
	a := w.open(oneWay, scriptPort, s)
	a.send(s.up)
	a.leave()
	w.done(a)
}

// reset ends a download with RST before it is complete.
func (w *worker) reset() {
	s := script{up: 10, down: w.size(1<<10, 1<<20), rounds: 1}
	a := w.open(justLeave, scriptPort, s)
	a.send(s.up)
	a.receive(w.rand.Int64N(s.down), 0)
	a.abandon(true)
	w.done(a)
}

// closeAtOnce closes before there can be an answer.
func (w *worker) closeAtOnce() {
	s := script{up: 10, down: 10, rounds: 1}
	o := w.newOutcome(justLeave, w.somewhere(scriptPort))
	s.id, o.want = o.id, s.answers()
	a := dial(w.ctx, w.pod.DialContext, o)
	if w.rand.IntN(2) == 0 {
		a.say(s.String())
	}
	a.abandon(w.rand.IntN(2) == 0)
	w.done(a)
}

// burst dials many times at once.
func (w *worker) burst() {
	var all sync.WaitGroup
	for range 8 + w.rand.IntN(17) {
		s := script{up: 20, down: w.size(20, 4<<10), rounds: 1, targetCloses: true}
		o := w.newOutcome(whole, w.somewhere(scriptPort))
		s.id, o.want = o.id, s.answers()
		all.Go(func() {
			a := dial(w.ctx, w.pod.DialContext, o)
			a.say(s.String())
			w.play(a, s, 0)
			w.done(a)
		})
	}
	all.Wait()
}

// dead dials an address where no target is.
func (w *worker) dead(to netip.AddrPort) {
	o := w.newOutcome(noTarget, to)
	o.id = 0
	a := dial(w.ctx, w.pod.DialContext, o)
	a.receiveEnd()
	w.done(a)
}

// family returns one of the two families.
func (w *worker) family() lab.Families { return lab.DualStack.Each()[w.rand.IntN(2)] }

func (w *worker) refused() { w.dead(w.somewhere(target.ClosedPort)) }

func (w *worker) blackHole() { w.dead(at(lab.BlackHole(w.family()), scriptPort)) }

func (w *worker) unroutable() { w.dead(at(unassigned(w.family()), scriptPort)) }

// unassigned returns an address of the shoot's pod range that no host has.
func unassigned(f lab.Families) netip.Addr {
	if f == lab.IPv6 {
		return netip.MustParseAddr("fd10:64::77:77")
	}
	return netip.MustParseAddr("100.64.77.77")
}

// flood dials one dead target many times at once. The other workers dial meanwhile, and
// must not notice.
func (w *worker) flood() {
	to := at(lab.BlackHole(w.family()), scriptPort)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() { w.dead(to) })
	}
	all.Wait()
}

// afterEOF asks a target that answers only after an EOF, which reaches it only through an
// exit.
func (w *worker) afterEOF() {
	const question, answer = "a question", "got 10 bytes and EOF\n"
	o := w.newOutcome(noEnd, w.somewhere(target.AfterEOFPort))
	o.id = 0
	if w.exits {
		o.expected, o.want = whole, int64(len(answer))
	}
	a := dial(w.ctx, w.pod.DialContext, o)
	if w.exits {
		a.check = newTextChecker(answer)
	}
	a.say(question)
	a.finish()
	a.receiveEnd()
	w.done(a)
}
