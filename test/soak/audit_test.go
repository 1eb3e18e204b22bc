// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAuditOfTheLog(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	j := &journal{entries: []*entry{{Disturbance: Disturbance{Kind: KillServer, Index: 1}, began: now.Add(-5 * time.Second), struck: now.Add(-3 * time.Second), ended: now}}}
	for _, c := range []struct {
		level, message, destination, server, reason string
		seconds                                     float64
		bad                                         bool
	}{
		{"ERROR", "something", "", "", "", 0, true},
		{"WARN", several, "", "", "max_connections", 0, true},
		{"WARN", several, "100.64.0.1:7100", "s1", "refused", 0, true},
		{"WARN", several, "100.64.0.1:7009", "s1", "refused", 0, false},
		{"WARN", brokeUp, "100.64.0.1:7100", "s1", "tunnel_broken", 1, true}, // after the kill
		{"WARN", brokeUp, "100.64.0.1:7100", "s0", "tunnel_broken", 4, true}, // the other server
		{"WARN", brokeUp, "100.64.0.1:7100", "s1", "tunnel_broken", 4, false},
		{"WARN", brokeUp, "100.64.0.1:7100", "s1", "protocol", 4, true},
		{"WARN", brokeUp, "100.64.0.1:7100", "s1", "slow_reader", 4, true},
		{"WARN", brokeUp, "100.64.0.1:7102", "s1", "slow_reader", 4, false},
		{"WARN", brokeUp, "100.64.0.1:7100", "s1", "half_close_unsupported", 4, true},
		{"WARN", brokeUp, "100.64.0.1:7003", "s1", "half_close_unsupported", 4, false},
		{"WARN", notMade, "100.64.0.1:7100", "s1", "refused", 0, true},
		{"WARN", notMade, "100.64.0.1:7009", "s1", "refused", 0, false},
		{"WARN", notMade, "100.64.0.1:7100", "s1", "timeout", 4, true}, // one server was there
		{"WARN", notMade, "100.64.0.250:7100", "s1", "timeout", 4, false},
		{"WARN", notMade, "100.64.0.1:7100", "", "outside_cidrs", 0, true},
		{"WARN", notMade, "100.64.0.1:7009", "s0", "tls", 0, true},
		{"INFO", notMade, "100.64.0.1:7100", "s0", "cancelled", 0, false},
		{"INFO", closed, "100.64.0.1:7100", "s0", "target_closed", 1, false},
	} {
		log := fmt.Sprintf(`{"time":%q,"level":%q,"msg":%q,"destination":%q,"server":%q,"duration_seconds":%v,"reason":%q}`,
			now.Format(time.RFC3339Nano), c.level, c.message, c.destination, c.server, c.seconds, c.reason) + "\n"
		var found []string
		a := &auditor{journal: j, servers: []string{"s0", "s1"}, reasons: map[string]int{}, find: func(f string, args ...any) { found = append(found, fmt.Sprintf(f, args...)) }}
		if err := a.audit(strings.NewReader(log)); err != nil {
			t.Fatal(err)
		}
		if bad := len(found) > 0; bad != c.bad {
			t.Errorf("found %q in %s, want a finding: %v", found, log, c.bad)
		}
		if c.reason != "" && c.message != several && a.reasons[c.message+": "+c.reason] != 1 {
			t.Errorf("counted %v in %s", a.reasons, log)
		}
	}
}

// TestAuditStraightensTheClock: the log of a stepped clock shows by how much it was off,
// and the real time is found. That also holds if the lines of two goroutines change
// places at the step.
func TestAuditStraightensTheClock(t *testing.T) {
	const s = time.Second
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var c straightener
	for _, l := range []struct{ after, offset time.Duration }{
		{0, 0},
		{10 * s, 0},
		{11 * s, time.Hour},
		{10 * s, 0}, // this line was written late
		{12 * s, time.Hour},
		{29 * time.Minute, time.Hour},
		{30 * time.Minute, 0},
		{31 * time.Minute, -time.Hour},
		{5 * time.Hour / 6, -time.Hour},
	} {
		if got, want := c.straighten(start.Add(l.after+l.offset)), start.Add(l.after); !got.Equal(want) {
			t.Errorf("%s after the start, off by %s: %s, want %s", l.after, l.offset, got, want)
		}
	}
	if err := c.differs(map[time.Duration]bool{0: true, time.Hour: true, -time.Hour: true}); err != nil {
		t.Error(err)
	}
	for _, wrong := range []map[time.Duration]bool{
		{0: true, time.Hour: true},
		{0: true, time.Hour: true, -time.Hour: true, 2 * time.Hour: true},
	} {
		if c.differs(wrong) == nil {
			t.Errorf("offsets %v pass for %v", c.seen, wrong)
		}
	}
}

func TestAuditOfCertificates(t *testing.T) {
	now := time.Now()
	log := fmt.Sprintf(`{"time":%q,"level":"ERROR","msg":%q}`, now.Format(time.RFC3339Nano), badFiles+"; and so on") + "\n"
	for bad, entries := range map[bool][]*entry{
		true:  {{Disturbance: Disturbance{Kind: SwapFiles}, began: now.Add(-time.Second)}},
		false: {{Disturbance: Disturbance{Kind: SpoilFiles}, began: now.Add(-time.Second)}},
	} {
		found := 0
		a := &auditor{journal: &journal{entries: entries}, find: func(string, ...any) { found++ }}
		if err := a.audit(strings.NewReader(log)); err != nil {
			t.Fatal(err)
		}
		if a.spoilt != 1 || found > 0 != bad {
			t.Errorf("%d findings and %d reports in %s, want a finding: %v", found, a.spoilt, log, bad)
		}
	}
}

func TestWhatIsCountedIsCompared(t *testing.T) {
	seen := counts{made: 100, resets: 10, abandoned: 5, stalled: 2, excused: 1}
	for _, c := range []struct {
		name string
		t    told
		bad  bool
	}{
		{"a connection nobody made", told{connections: 101, resets: 10}, true},
		{"a connection not counted", told{connections: 99, resets: 10}, true},
		{"resets without a reason", told{connections: 100, resets: 8}, true},
		{"reasons without a reset", told{connections: 100, resets: 16}, true},
		{"cancelled by nobody", told{connections: 100, resets: 10, gaveUp: 6}, true},
		{"slow readers that read", told{connections: 100, resets: 10, slow: 3}, true},
		{"all well", told{connections: 100, resets: 12, gaveUp: 3, slow: 2}, false},
	} {
		if problems := compare(seen, c.t); (len(problems) > 0) != c.bad {
			t.Errorf("%s: %q", c.name, problems)
		}
	}
}

func TestFootprintsThatHaveGrown(t *testing.T) {
	was := footprint{goroutines: 20, fds: 10, heap: 4 << 20}
	for _, now := range []footprint{
		{goroutines: 20 + moreGoroutines + 1, fds: 10, heap: 4 << 20},
		{goroutines: 20, fds: 10 + moreFDs + 1, heap: 4 << 20},
		{goroutines: 20, fds: 10, heap: 4<<20 + moreHeap + 1},
	} {
		if was.grown(now) == nil {
			t.Errorf("%s passes for %s", now, was)
		}
	}
	if err := was.grown(was); err != nil {
		t.Error(err)
	}
}
