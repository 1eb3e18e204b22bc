// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/cure"
	"github.com/shoot-proxy/proxy-client/internal/repetition"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// maxFailures is how many destinations and reasons are remembered.
const maxFailures = 256

// failures remembers the last connections that failed, joined by destination and reason,
// and decides which of those that were not made are logged. Each reason has its share of
// the memory. The zero value is ready to use. A failure is never a part of a connection that
// works, so the lock is not on the data path.
type failures struct {
	mu       sync.Mutex
	byKey    map[failureKey]*list.Element
	byReason map[string]int // how many there are
	recent   list.List      // of *failure, the newest in front
}

type failureKey struct {
	kind, reason string
	destination  netip.AddrPort
}

// failure is what happened to the connections of one failureKey.
type failure struct {
	failureKey
	first  time.Time
	last   time.Time
	took   time.Duration // of the dial
	source netip.AddrPort
	server string
	ids    idPair
	fault  string // of status.Failure
	next   string // what to do, if more is known than the reason says
	err    string
	times  int

	level slog.Level // of the log lines
	lines repetition.Lines
}

// idPair are the ids of a dial as texts.
type idPair struct{ dial, connection string }

// add remembers a failure of c. It returns whether it is to be logged, and a failure
// that was dropped with connections that were not logged yet, or nil.
func (f *failures) add(now time.Time, level slog.Level, key failureKey, c *connection, err error) (log bool, dropped *failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	is, dropped := f.remember(now, key, c, err)
	is.level = level
	return is.lines.Add(now), dropped
}

// addLogged remembers a failure that the caller logs. It returns what add returns as
// dropped.
func (f *failures) addLogged(now time.Time, key failureKey, c *connection, err error) (dropped *failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, dropped = f.remember(now, key, c, err)
	return dropped
}

// remember counts a failure of c. dropped is what makeRoom returns. The caller holds mu.
func (f *failures) remember(now time.Time, key failureKey, c *connection, err error) (is, dropped *failure) {
	element := f.byKey[key]
	if element == nil {
		dropped = f.makeRoom()
		element = f.recent.PushFront(&failure{failureKey: key, first: now})
		f.byKey[key] = element
		f.byReason[key.reason]++
	}
	f.recent.MoveToFront(element)
	is = element.Value.(*failure)
	is.last, is.took, is.source, is.server, is.times = now, c.dialled, c.source, c.server, is.times+1
	is.ids = idPair{idText(c.ids.Dial), idText(c.ids.Connection)}
	is.fault, is.next = faultOf(err)
	is.err = ""
	if err != nil {
		is.err = clip.Text(err.Error(), clip.Sentence)
	}
	return is, dropped
}

// faultOf returns where the cause of err is, as status.Failure has it, and what to do if
// err says so.
func faultOf(err error) (fault, next string) {
	if errors.Is(err, tunnel.ErrBroken) || errors.Is(err, tunnel.ErrProtocol) {
		fault = status.FaultServer
	}
	failed, ok := errors.AsType[*tunnel.Error](err)
	switch {
	case !ok || failed.Server == "":
		return fault, ""
	case failed.Fault.Ours():
		return status.FaultSidecar, failed.Next
	case failed.Fault.Elsewhere() || failed.Reason == tunnel.ReasonProtocol:
		fault = status.FaultServer
	default:
		fault = status.FaultTarget
	}
	switch {
	case failed.Next != "" || failed.Reason != tunnel.ReasonTimeout:
		return fault, failed.Next
	case fault == status.FaultServer:
		return fault, cure.Silent
	default:
		return fault, cure.TargetSilent
	}
}

// makeRoom drops the oldest failure of the most frequent reason if there are too many. So a
// flood of one reason leaves what others say. It returns the dropped one if some of it was
// not logged. The caller holds mu.
func (f *failures) makeRoom() *failure {
	if f.byKey == nil {
		f.byKey, f.byReason = map[failureKey]*list.Element{}, map[string]int{}
	}
	if f.recent.Len() < maxFailures {
		return nil
	}
	most := 0
	for _, n := range f.byReason {
		most = max(most, n)
	}
	element := f.recent.Back()
	for f.byReason[element.Value.(*failure).reason] < most {
		element = element.Prev()
	}
	oldest := f.recent.Remove(element).(*failure)
	delete(f.byKey, oldest.failureKey)
	f.byReason[oldest.reason]--
	if times, _ := oldest.lines.Silent(); times == 0 {
		return nil
	}
	return oldest
}

// due returns copies of the failures with connections that were not logged, whose
// interval is over at now. If all is set, it returns those of every interval. The next
// line about one of them comes after another interval.
func (f *failures) due(now time.Time, all bool) []failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	var due []failure
	for element := f.recent.Back(); element != nil; element = element.Prev() {
		is := element.Value.(*failure)
		before := *is
		if is.lines.Due(now, all) > 0 {
			due = append(due, before)
		}
	}
	return due
}

// Failures returns the last failures, the newest first.
func (p *Proxy) Failures() []status.Failure {
	p.failures.mu.Lock()
	defer p.failures.mu.Unlock()
	all := make([]status.Failure, 0, p.failures.recent.Len())
	for element := p.failures.recent.Front(); element != nil; element = element.Next() {
		all = append(all, element.Value.(*failure).status())
	}
	return all
}

func (f *failure) status() status.Failure {
	s := status.Failure{
		Kind: f.kind, First: f.first, Time: f.last, DialSeconds: f.took.Seconds(), Source: f.source.String(), Server: f.server, DialID: f.ids.dial,
		Reason: f.reason, Fault: f.fault, Error: f.err, Cure: f.next, Times: f.times,
	}
	switch {
	case s.Cure != "":
	case f.kind == status.FailureBroken:
		s.Cure = cure.Broken(f.reason)
	default:
		s.Cure = cure.NotMade(f.reason)
	}
	if f.destination.IsValid() {
		s.Destination = f.destination.String()
	}
	return s
}

// notMade remembers that c was not made, and logs it unless the same has just been logged
// several times.
func (p *Proxy) notMade(level slog.Level, reason tunnel.Reason, c *connection, err error) {
	log, dropped := p.failures.add(time.Now(), level, failureKey{status.FailureNotMade, string(reason), c.destination}, c, err)
	p.logTogether(dropped)
	if log {
		attributes := []slog.Attr{slog.String("reason", string(reason))}
		if c.early > 0 {
			attributes = append(attributes, slog.Int("sent_bytes", c.early)) // behind the dial
		}
		p.logConnection(level, "connection not made", c, err, attributes...)
	}
}

// logTogether logs the connections of f that were not logged, in one line. f may be nil.
func (p *Proxy) logTogether(f *failure) {
	if f == nil {
		return
	}
	times, since := f.lines.Silent()
	attributes := []slog.Attr{slog.Int("times", times), slog.Float64("within_seconds", f.last.Sub(since).Seconds())}
	if f.destination.IsValid() {
		attributes = append(attributes, slog.String("destination", f.destination.String()))
	}
	if f.server != "" {
		attributes = append(attributes, slog.String("server", f.server))
	}
	if f.ids.dial != "" {
		attributes = append(attributes, slog.String("dial_id", f.ids.dial))
	}
	attributes = append(attributes, slog.String("reason", f.reason))
	if f.err != "" {
		attributes = append(attributes, slog.String("error", f.err))
	}
	p.log.LogAttrs(context.Background(), f.level, "connections not made", attributes...)
}
