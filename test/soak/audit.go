// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// line is one line of the sidecar's log about a connection.
type line struct {
	Time        time.Time      `json:"time"`
	Level       string         `json:"level"`
	Message     string         `json:"msg"`
	Destination netip.AddrPort `json:"destination"`
	Server      string         `json:"server"`
	Seconds     float64        `json:"duration_seconds"`
	Reason      string         `json:"reason"`
	Error       string         `json:"error"`

	// Of several connections that were not made:
	Times  int     `json:"times"`
	Within float64 `json:"within_seconds"`
}

// Messages of the sidecar about connections:
const (
	notMade = "connection not made"
	closed  = "connection closed"
	brokeUp = "connection broken"
	several = "connections not made" // the same as before, again and again
)

// badFiles begins the sidecar's message about certificates that it cannot use.
const badFiles = "the changed TLS files cannot be used"

// auditor reads the sidecar's log and finds connections whose reason has no cause.
type auditor struct {
	journal *journal
	clock   straightener // the clock of the log
	servers []string     // as the log names them
	reasons map[string]int
	spoilt  int // number of lines about certificates
	strange int // number of lines that the logger did not write
	find    func(format string, args ...any)
}

// audit reads a whole log.
func (a *auditor) audit(log io.Reader) error {
	scanner := bufio.NewScanner(log)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			if a.strange++; a.strange == 1 { // a report of the race detector has many
				a.find("the sidecar's log: %v in %.300q", err, scanner.Text())
			}
			continue
		}
		l.Time = a.clock.straighten(l.Time)
		switch l.Message {
		case notMade, closed, brokeUp:
			a.reasons[l.Message+": "+l.Reason]++
		case several:
			a.reasons[notMade+": "+l.Reason] += l.Times
		}
		if complaint := a.complaint(l); complaint != "" {
			a.find("the sidecar's log: %s: %s", complaint, scanner.Text())
		}
	}
	return scanner.Err()
}

// complaint returns what is wrong with a line; for most it is empty.
func (a *auditor) complaint(l line) string {
	began := l.Time.Add(-time.Duration(l.Seconds * float64(time.Second)))
	switch {
	case strings.HasPrefix(l.Message, badFiles):
		a.spoilt++
		if a.journal.went(l.Time, l.Time, SpoilFiles) {
			return ""
		}
		return "certificates were refused that are good"
	case l.Level == "ERROR":
		return "an error"
	case l.Message == several:
		return a.complaintNotMade(l, began.Add(-time.Duration(l.Within*float64(time.Second))-defaults.DialTimeout))
	case l.Message == notMade:
		return a.complaintNotMade(l, began)
	case l.Message == brokeUp:
		return a.complaintBroken(l, began)
	}
	return ""
}

func (a *auditor) complaintNotMade(l line, began time.Time) string {
	switch l.Reason {
	case "cancelled":
		return ""
	case "refused", "unreachable":
		if nobody(l.Destination) {
			return ""
		}
	case "exit_unreachable":
		if a.journal.dialWasCut(began, l.Time) || a.journal.went(began, l.Time, PartPodFor, Stall) {
			return ""
		}
	case "timeout", "no_agent", "server_unreachable", "max_dials":
		if l.Reason == "timeout" && a.journal.dialWasCut(began, l.Time) {
			return ""
		}
		if nobody(l.Destination) || a.journal.went(began, l.Time, PartPodFor, Stall) {
			return ""
		}
	}
	return "a dial failed for a reason that it did not have"
}

// nobody reports whether no target is at an address.
func nobody(to netip.AddrPort) bool {
	if to.Port() == target.ClosedPort {
		return true
	}
	for _, f := range lab.DualStack.Each() {
		if to.Addr() == lab.BlackHole(f) || to.Addr() == unassigned(f) {
			return true
		}
	}
	return false
}

func (a *auditor) complaintBroken(l line, began time.Time) string {
	switch l.Reason {
	case "tunnel_broken":
		if a.journal.exits {
			if a.journal.mayReset(began, l.Time) {
				return ""
			}
			return "a tunnel to an exit broke to which nothing had happened"
		}
		if i := slices.Index(a.servers, l.Server); i >= 0 && a.journal.broke(i, began, l.Time) {
			return ""
		}
		return "a leg broke to a server to which nothing had happened"
	case "slow_reader":
		if l.Destination.Port() == stallPort && !a.journal.exits {
			return ""
		}
	case "half_close_unsupported":
		if l.Destination.Port() == target.AfterEOFPort && !a.journal.exits {
			return ""
		}
	}
	return "a connection was reset for a reason that it did not have"
}

// audit reads the sidecar's log, and compares what it counted with what the
// apps saw.
func (s *site) audit(log io.Reader, m lab.Metrics) (map[string]int, error) {
	a := &auditor{journal: &s.journal, servers: s.frontends(), reasons: map[string]int{}, find: s.tally.note}
	if err := a.audit(log); err != nil {
		return nil, fmt.Errorf("read the sidecar's log: %w", err)
	}
	// Through exits there are few handshakes that would read the files.
	if _, kinds := s.journal.count(); a.spoilt < kinds[SpoilFiles] && s.exits == nil {
		s.tally.note("invalid certificates were written %d times, and reported %d times", kinds[SpoilFiles], a.spoilt)
	}
	if s.clock != nil {
		if err := a.clock.differs(s.clock.seen); err != nil {
			s.tally.note("the sidecar's log: %v", err)
		}
	}
	c, _ := s.tally.snapshot()
	for _, problem := range compare(c, tellsOf(m)) {
		s.tally.note("%s", problem)
	}
	return a.reasons, nil
}

// told is what the sidecar counted.
type told struct {
	connections float64 // without those of probes
	resets      float64 // dials that failed, and connections that it reset
	gaveUp      float64 // apps that gave up before their dial was done
	slow        float64
}

func tellsOf(m lab.Metrics) told {
	t := told{
		connections: m.Sum("proxy_client_connections_total") - m[`proxy_client_connections_total{result="probe"}`],
		gaveUp:      m[`proxy_client_dial_failures_total{reason="cancelled"}`],
		slow:        m[`proxy_client_close_total{reason="slow_reader"}`],
	}
	t.resets = m.Sum("proxy_client_dial_failures_total") - t.gaveUp
	for _, reason := range []string{"target_reset", "tunnel_broken", "half_close_unsupported", "slow_reader", "idle", "drain", "protocol"} {
		t.resets += m[fmt.Sprintf("proxy_client_close_total{reason=%q}", reason)]
	}
	return t
}

// compare returns the differences between the apps' results and the sidecar's counts.
func compare(c counts, t told) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if int64(t.connections) != c.made {
		problem("apps made %d connections, connections_total is %.0f", c.made, t.connections)
	}
	// An app that sends to a target that has closed is reset as well. The target causes
	// that: target_closed. Such resets are all excused.
	if int64(t.resets)+c.excused < c.resets {
		problem("apps saw %d resets, of which %d are excused, and dial_failures_total and close_total have only %.0f", c.resets, c.excused, t.resets)
	}
	// An app that does not wait for the end does not see its connection's reset.
	if int64(t.resets) > c.resets+c.abandoned {
		problem("dial_failures_total and close_total have %.0f resets, apps saw %d and %d did not look", t.resets, c.resets, c.abandoned)
	}
	if int64(t.gaveUp) > c.abandoned {
		problem("%.0f dials were cancelled, but only %d apps gave up", t.gaveUp, c.abandoned)
	}
	if int64(t.slow) > c.stalled {
		problem("%.0f slow readers, but only %d apps did not read", t.slow, c.stalled)
	}
	return problems
}
