// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/shoot-proxy/proxy-client/internal/cure"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/repetition"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// identifiedConn is a fakeConn with ids.
type identifiedConn struct{ tunnel.Conn }

func (identifiedConn) IDs() tunnel.IDs { return tunnel.IDs{Dial: 1 << 62, Connection: 7} }

func TestConnectionsShowWhatMovesNow(t *testing.T) {
	dial, accept := tunnelTo(t)
	answer := make(chan struct{})
	h := start(t, dials(func(ctx context.Context) (tunnel.Conn, error) {
		<-answer
		conn, err := dial(ctx)
		return identifiedConn{conn}, err
	}), target, nil)
	app := h.connect()
	seen := func() []status.Connection { return slices.Collect(h.Connections()) }
	want := status.Connection{ID: 1, Source: app.LocalAddr().String(), Destination: target.String(), State: status.ConnectionDialling}
	times := cmpopts.IgnoreFields(status.Connection{}, "Accepted", "IdleSeconds", "DialSeconds")

	h.eventually("the connection is dialled", func() bool { return len(seen()) == 1 })
	if diff := cmp.Diff([]status.Connection{want}, seen(), times); diff != "" {
		t.Errorf("while it is dialled (-want +got):\n%s", diff)
	}
	h.eventually("the dial is counted", func() bool { return h.Status().Dialling == 1 })
	close(answer)
	exchange(t, app, accept())
	want.State, want.Server, want.DialID, want.ConnectionID = status.ConnectionOpen, server, "4611686018427387904", "7"
	want.SentBytes, want.ReceivedBytes = 5, 5
	h.eventually("both bytes are counted", func() bool { return seen()[0].SentBytes == 5 && seen()[0].ReceivedBytes == 5 })
	if diff := cmp.Diff([]status.Connection{want}, seen(), times); diff != "" {
		t.Errorf("while it is open (-want +got):\n%s", diff)
	}
	if is := h.Status(); is.Open != 1 || is.Dialling != 0 || is.Phase != status.PhaseListening || is.TotalBuffer == 0 {
		t.Errorf("the state is %+v", is)
	}
	app.Close()
	line := h.line("connection closed")
	if line["dial_id"] != want.DialID || line["connection_id"] != want.ConnectionID {
		t.Errorf("the log line has other ids: %v", line)
	}
	h.eventually("the connection is gone", func() bool { return len(seen()) == 0 && h.Status().Open == 0 })
}

// A connection is seen exactly once as long as it is open, whatever comes and goes.
func TestTheRegistryUnderChange(t *testing.T) {
	var r registry
	var stays []*connection
	for range 3 * registryBatch {
		c := &connection{}
		r.add(c)
		stays = append(stays, c)
	}
	stop := make(chan struct{})
	var changing sync.WaitGroup
	for range 4 {
		changing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := &connection{}
				r.add(c)
				r.remove(c)
			}
		})
	}
	for range 100 {
		seen := map[*connection]int{}
		for c := range r.all() {
			seen[c]++
		}
		for _, c := range stays {
			if seen[c] != 1 {
				t.Fatalf("a connection that stays open is seen %d times", seen[c])
			}
		}
	}
	close(stop)
	changing.Wait()
	for _, c := range stays {
		r.remove(c)
	}
	if len(r.slots) > 0 {
		t.Errorf("%d slots remain of a burst", len(r.slots))
	}
}

// refusedBy returns a dialer whose dials all fail.
func refusedBy(ids tunnel.IDs) *fakeDialer {
	return dials(func(context.Context) (tunnel.Conn, error) {
		return nil, &tunnel.Error{Reason: tunnel.ReasonRefused, Server: server, IDs: ids, Err: errors.New("connection refused")}
	})
}

func TestFailuresOfOneDestinationAreOneWithItsCure(t *testing.T) {
	h := start(t, refusedBy(tunnel.IDs{Dial: 5}), target, nil)
	for range 3 {
		wantReset(t, h.connect())
	}
	h.eventually("the failures are there", func() bool { return len(h.Failures()) == 1 && h.Failures()[0].Times == 3 })
	want := status.Failure{
		Kind: status.FailureNotMade, Destination: target.String(), Server: server, DialID: "5", Reason: "refused", Fault: status.FaultTarget, Times: 3,
		Error: "through proxy-server " + server + ": connection refused", Cure: cure.NotMade("refused"),
	}
	got := h.Failures()[0]
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(status.Failure{}, "First", "Time", "DialSeconds", "Source")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Cure == "" || got.DialSeconds <= 0 || got.First.IsZero() || got.Time.Before(got.First) {
		t.Errorf("cure or times are missing: %+v", got)
	}
	for _, line := range h.log.Lines(t, "connection not made") {
		if line["dial_id"] != "5" {
			t.Errorf("a line has no dial_id: %v", line)
		}
	}
}

// TestWhereTheCauseOfAFailureIs: the target is not blamed for a silent agent, which has
// advice of its own.
func TestWhereTheCauseOfAFailureIs(t *testing.T) {
	failed := func(reason tunnel.Reason, fault tunnel.Fault) error {
		return &tunnel.Error{Reason: reason, Server: server, Fault: fault, Err: errors.New("failed")}
	}
	for name, tt := range map[string]struct {
		err         error
		fault, next string
	}{
		"the target refuses":      {failed(tunnel.ReasonRefused, tunnel.FaultTarget), status.FaultTarget, ""},
		"the target is silent":    {failed(tunnel.ReasonTimeout, tunnel.FaultTarget), status.FaultTarget, cure.TargetSilent},
		"the agent is silent":     {failed(tunnel.ReasonTimeout, tunnel.FaultServer), status.FaultServer, cure.Silent},
		"no agent":                {failed(tunnel.ReasonNoAgent, tunnel.FaultServer), status.FaultServer, ""},
		"the server is down":      {failed(tunnel.ReasonServerUnreachable, tunnel.FaultUnreachable), status.FaultServer, ""},
		"a wrong answer":          {failed(tunnel.ReasonProtocol, tunnel.FaultTarget), status.FaultServer, ""},
		"no local port":           {failed(tunnel.ReasonNoPort, tunnel.FaultPort), status.FaultSidecar, ""},
		"a known next step":       {&tunnel.Error{Reason: tunnel.ReasonTLS, Server: server, Fault: tunnel.FaultUnusable, Next: "renew", Err: errors.New("expired")}, status.FaultServer, "renew"},
		"no server was asked":     {&tunnel.Error{Reason: ReasonMaxDials, Err: errors.New("too many")}, "", ""},
		"the connection broke":    {fmt.Errorf("%w: EOF", tunnel.ErrBroken), status.FaultServer, ""},
		"the app does not read":   {errors.New("slow"), "", ""},
		"no error, as in a drain": {nil, "", ""},
	} {
		if fault, next := faultOf(tt.err); fault != tt.fault || next != tt.next {
			t.Errorf("%s: fault %q, what to do %q; want %q, %q", name, fault, next, tt.fault, tt.next)
		}
	}
}

func TestEveryReasonHasACure(t *testing.T) {
	for _, reason := range Reasons() {
		if cure.NotMade(string(reason)) == "" {
			t.Errorf("%s has none", reason)
		}
	}
}

// TestAThousandFailuresMakeAFewLines: the first are logged as they happen, and the others
// by their number. No failure is left out.
func TestAThousandFailuresMakeAFewLines(t *testing.T) {
	const failures = 1000
	h := start(t, refusedBy(tunnel.IDs{}), target, nil)
	for range failures {
		wantReset(t, h.connect())
	}
	h.eventually("all are counted", func() bool {
		return h.value("proxy_client_dial_failures_total", "reason", "refused") == failures
	})
	h.cancel()
	h.wait(nil)
	single, together := h.log.Lines(t, "connection not made"), h.log.Lines(t, "connections not made")
	logged := len(single)
	for _, line := range together {
		logged += int(line["times"].(float64))
		if line["destination"] != target.String() || line["reason"] != "refused" || line["error"] == nil {
			t.Errorf("a line about several does not say which: %v", line)
		}
	}
	// The machine decides how long this takes, and so how many intervals it has.
	if logged != failures || len(single) != repetition.AtOnce || len(together) == 0 {
		t.Errorf("%d lines, and %d about several, are about %d failures, want %d", len(single), len(together), logged, failures)
	}
}

// silent returns how many failures have no line.
func silent(f failure) int {
	times, _ := f.lines.Silent()
	return times
}

func TestRepetitionIsLoggedOnceInAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f failures
		fail := func(times int) (logged int) {
			for range times {
				if log, _ := f.add(time.Now(), slog.LevelWarn, failureKey{reason: "refused", destination: target}, &connection{}, nil); log {
					logged++
				}
			}
			return logged
		}
		wants := func(what string, got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %d, want %d", what, got, want)
			}
		}
		wants("lines at once", fail(100), repetition.AtOnce)
		wants("summaries within the interval", len(f.due(time.Now(), false)), 0)
		time.Sleep(repetition.Interval)
		due := f.due(time.Now(), false)
		wants("summaries after it", len(due), 1)
		wants("failures in the summary", silent(due[0]), 100-repetition.AtOnce)
		wants("lines while it goes on", fail(100), 0)
		time.Sleep(repetition.Interval)
		wants("failures in the next summary", silent(f.due(time.Now(), false)[0]), 100)
		time.Sleep(repetition.Interval)
		wants("summaries when it has stopped", len(f.due(time.Now(), false)), 0)
		wants("lines after a quiet interval", fail(1), 1)
		wants("times of all", f.recent.Front().Value.(*failure).times, 201)
	})
}

// What is dropped from the memory was logged, or is logged then.
func TestFailuresAreBoundedAndNoneIsLost(t *testing.T) {
	var f failures
	lines, together := 0, 0
	for i := range 3 * maxFailures {
		destination := netip.AddrPortFrom(target.Addr(), uint16(i+1))
		for range repetition.AtOnce + 2 {
			log, dropped := f.add(time.Now(), slog.LevelWarn, failureKey{reason: "timeout", destination: destination}, &connection{}, nil)
			if log {
				lines++
			}
			if dropped != nil {
				together += silent(*dropped)
			}
		}
	}
	for _, left := range f.due(time.Now(), true) {
		together += silent(left)
	}
	if f.recent.Len() != maxFailures || len(f.byKey) != maxFailures {
		t.Errorf("%d and %d failures are kept, want %d", f.recent.Len(), len(f.byKey), maxFailures)
	}
	if all := 3 * maxFailures * (repetition.AtOnce + 2); lines+together != all {
		t.Errorf("%d failures are in the log, want %d", lines+together, all)
	}
}

// TestAFloodDropsFailuresOfItsOwnReason: failures with many destinations and one reason do
// not push out those with other reasons.
func TestAFloodDropsFailuresOfItsOwnReason(t *testing.T) {
	var f failures
	add := func(reason string, port int) {
		f.add(time.Now(), slog.LevelWarn, failureKey{reason: reason, destination: netip.AddrPortFrom(target.Addr(), uint16(port))}, &connection{}, nil)
	}
	add("no_agent", 1)
	add("timeout", 1)
	for i := range 3 * maxFailures {
		add("refused", i+1)
		if i == maxFailures {
			add("tls", 1) // in the flood
		}
	}
	kept := map[string]int{}
	for key := range f.byKey {
		kept[key.reason]++
	}
	if diff := cmp.Diff(map[string]int{"no_agent": 1, "timeout": 1, "tls": 1, "refused": maxFailures - 3}, kept); diff != "" {
		t.Errorf("failures that are kept, by reason (-want +got):\n%s", diff)
	}
	last := netip.AddrPortFrom(target.Addr(), 3*maxFailures)
	if newest := f.recent.Front().Value.(*failure); newest.destination != last {
		t.Errorf("the newest is about %s, want %s", newest.destination, last)
	}
	if diff := cmp.Diff(f.byReason, kept); diff != "" {
		t.Errorf("the count of each reason differs from what is kept (-counted +kept):\n%s", diff)
	}
}

func TestHistoryIsRatesOfTheLastPoints(t *testing.T) {
	var p Proxy
	h := &p.history
	now := time.Unix(1000, 0)
	h.start(now)
	for i := range historyPoints + 5 {
		h.sent.Add(1000)
		h.received.Add(2000)
		h.failed.Add(1)
		for range 99 {
			h.dialled(10 * time.Millisecond)
		}
		h.dialled(time.Second)
		now = now.Add(historyInterval)
		h.point(now, 7, i)
	}
	got := p.History()
	if len(got.Points) != historyPoints || got.IntervalSeconds != 5 {
		t.Fatalf("%d points of %v s", len(got.Points), got.IntervalSeconds)
	}
	last := got.Points[historyPoints-1]
	want := status.Point{Time: now, SentBytes: 200, ReceivedBytes: 400, Dials: 100, Failed: 1, DialP50: 0.01, DialP99: 1, HeldBytes: 7, Open: historyPoints + 4}
	if diff := cmp.Diff(want, last, cmpopts.EquateApprox(0.07, 0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !got.Points[0].Time.Equal(now.Add(-(historyPoints - 1) * historyInterval)) {
		t.Errorf("the first point is of %v", got.Points[0].Time)
	}
}

func TestLatenciesAreNearTheirBuckets(t *testing.T) {
	for d := time.Duration(0); d < 30*time.Second; d += d/37 + time.Microsecond {
		bucket := bucketOf(d)
		middle := middleOf(bucket)
		if off := max(d-middle, middle-d); off > max(latencyUnit, d/14) {
			t.Fatalf("%v counts as %v", d, middle)
		}
	}
	if bucketOf(time.Hour) != latencyBuckets-1 {
		t.Errorf("an hour is in bucket %d", bucketOf(time.Hour))
	}
}

func TestTheRedirectsResultsSayWhatToDo(t *testing.T) {
	var r redirectResults
	set := shoot(t)
	four, six, inside := netip.MustParseAddrPort("192.0.2.1:20000"), netip.MustParseAddrPort("[2001:db8::1]:20000"), netip.MustParseAddrPort("100.64.0.0:20000")
	now := time.Unix(1000, 0)
	r.add(now, redirectOf(set, inside, true), nil)
	r.add(now, redirectOf(set, four, false), nil)
	r.add(now, redirectOf(set, six, false), &probe.Error{Target: six, Cause: "do this", Err: errors.New("refused")})
	want := []status.Redirect{
		{Target: four.String(), Family: "IPv4", OK: true, Checked: now},
		{Target: six.String(), Family: "IPv6", Error: "refused", Next: "do this", Checked: now},
		{Target: inside.String(), Family: "IPv4", CIDR: "100.64.0.0/12", OK: true, Checked: now},
	}
	if diff := cmp.Diff(want, r.list()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The CIDRs of a lost family are not probed, so their last results are no news.
	r.add(now, redirectOf(set, four, false), errors.New("lost"))
	if got := r.list(); len(got) != 2 || got[0].OK || got[0].Error != "lost" {
		t.Errorf("after the loss of a family: %+v", got)
	}
}

func BenchmarkConnectionsList(b *testing.B) {
	var p Proxy
	for i := range 10_000 {
		p.registry.add(&connection{source: netip.AddrPortFrom(target.Addr(), uint16(i)), destination: target, accepted: time.Now()})
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range p.Connections() {
			n++
		}
		if n != 10_000 {
			b.Fatal(fmt.Sprint(n))
		}
	}
}
