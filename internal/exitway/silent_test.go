// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/cure"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

const (
	silentLine = "an exit does not answer; new connections use the others"
	againLine  = "the exit answers again"
)

// TestOneOfSeveralExitsIsSilent: the log says once that it does not answer, and once that it
// does again. If it is soon gone again, the log waits with that.
func TestOneOfSeveralExitsIsSilent(t *testing.T) {
	w, n, _, second := twoExits(t)
	said := func(line string) []map[string]any { return w.log.Lines(t, line) }
	up := func(want bool) {
		t.Helper()
		waittest.Eventually(t, "the exit's change", func() bool {
			is := w.Exits().Exits
			return is[0].Up && is[1].Up == want && (is[1].Reason == "") == want
		})
	}
	w.filled(t)
	n.awaitAttempts(t)
	lines := said(silentLine)
	if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["exit"] != string(otherExit) || lines[0]["reason"] != "exit_unreachable" || lines[0]["next"] == "" {
		t.Errorf("the log says of the exit that is gone: %v", lines)
	}
	n.set(otherExit, second.addr)
	up(true)
	if lines := said(againLine); len(lines) != 1 || lines[0]["level"] != "INFO" || lines[0]["exit"] != string(otherExit) {
		t.Errorf("the log says of the exit that is back: %v", lines)
	}
	n.set(otherExit, netip.AddrPort{})
	_ = second.Server.Close()
	up(false)
	n.awaitAttempts(t)
	if silent, again := said(silentLine), said(againLine); len(silent) != 1 || len(again) != 1 {
		t.Errorf("the log says %d times that an exit does not answer, and %d times that it does again", len(silent), len(again))
	}
}

// TestTheOnlyExitIsSilent: what the log says of all exits is not said of one again.
func TestTheOnlyExitIsSilent(t *testing.T) {
	p := newPKI(t)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{})
	w := newWay(t, p, n, nil)
	waittest.Eventually(t, "the line about the fallback", func() bool { return len(w.log.Lines(t, fallbackLine)) == 1 })
	e := startExit(t, p, nil)
	n.set(theExit, e.addr)
	w.filled(t)
	n.set(theExit, netip.AddrPort{})
	_ = e.Server.Close()
	waittest.Eventually(t, "the line about the fallback", func() bool { return len(w.log.Lines(t, fallbackLine)) == 2 })
	if lines := append(w.log.Lines(t, silentLine), w.log.Lines(t, againLine)...); len(lines) > 0 {
		t.Errorf("the log says %v", lines)
	}
}

// TestNextInTheLog: the log's line has a next step also if the cause lies before the exit.
func TestNextInTheLog(t *testing.T) {
	n := newNetwork(nil)
	n.fails = &tunnel.Error{Reason: tunnel.ReasonNoAgent, Server: "server", Fault: tunnel.FaultServer, Err: errors.New("no agent available")}
	w := newWay(t, newPKI(t), n, nil)
	waittest.Eventually(t, "the line about the fallback", func() bool { return len(w.log.Lines(t, fallbackLine)) == 1 })
	if line := w.log.Lines(t, fallbackLine)[0]; line["reason"] != "no_agent" || line["next"] != cure.NotMade("no_agent") {
		t.Errorf("the log says %v", line)
	}
}
