// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"fmt"
	"slices"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/inbox"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// outgoing is something that waits to be sent to the server.
type outgoing struct {
	packet  string // its name, if it is not DATA
	data    int    // bytes that are left of a Send
	started bool   // gRPC has begun to send it
}

// model is the protocol as a client must see it, with a clock of its own. It has no
// goroutines and no locks. Its phases are those of a stream.
type model struct {
	journal
	now   time.Duration
	phase phase
	conn  bool // the dial succeeded, and the app has a Conn

	inbox     int  // bytes that have arrived and were not received
	ended     bool // the server has ended the stream
	cancelled bool // and we have reset it
	finished  bool // we have ended it in order,
	parting   bool // and the server has not ended it yet
	grace     time.Duration
	verdict   string

	stalled bool // the server does not read
	outbox  []outgoing

	reading, untilEnd bool // a Receive is under way
	writing           bool // a Send is under way
	closed            bool // Close was called
	taken             int  // bytes that the app got
}

func newModel() *model { return &model{} }

func (m *model) seen(part int, format string, args ...any) {
	m.note(m.now, part, fmt.Sprintf(format, args...))
}

// do applies the results of a step.
func (m *model) do(s step) {
	switch s {
	case srvStall, srvFlow:
		m.stalled = s == srvStall
	case appSend:
		m.send(smallData)
	case appSendLarge:
		m.send(largeData)
	case appReceive, appRead:
		if m.conn && !m.reading {
			m.reading, m.untilEnd = true, s == appRead
		}
	case appClose:
		if m.conn && !m.closed {
			m.close()
		}
	case appGiveUp:
		m.giveUp("cancelled")
	case waitShort:
		m.wait(short)
	case waitLong:
		m.wait(long)
	default:
		if m.ended {
			return
		}
		m.ended = s == srvEnd || s == srvBreak
		m.arrive(s)
	}
	m.settle()
}

// end is the counterpart of world.end.
func (m *model) end() {
	m.do(appGiveUp)
	m.do(appClose)
	m.wait(10 * time.Second)
}

func (m *model) send(n int) {
	if m.conn && !m.writing {
		m.writing = true
		m.outbox = append(m.outbox, outgoing{data: n})
	}
}

// close is Close, or the result of a dial that succeeded too late.
func (m *model) close() {
	m.closed = true
	if m.inbox > 0 {
		m.inbox = 0
		m.verdict = "closed" // the app must not take a part of the answer for the whole
	}
	if m.phase != finished {
		m.grace = m.now + 2*time.Second
		m.phase = closing
		m.outbox = append(m.outbox, outgoing{packet: "CLOSE_REQ"})
	}
}

func (m *model) giveUp(why string) {
	if m.phase != dialing {
		return
	}
	m.seen(logDial, "%s", why)
	m.phase = abandoned
	m.grace = m.now + time.Second
	m.outbox = append(m.outbox, outgoing{packet: "DIAL_CLS"})
}

// wait lets d pass.
func (m *model) wait(d time.Duration) {
	for end := m.now + d; ; {
		switch {
		case m.phase == dialing && m.now < dialBudget && dialBudget <= end:
			m.now = dialBudget
			m.giveUp("timeout, elsewhere")
		case m.grace > 0 && m.grace <= end:
			m.now = m.grace
			if m.parting {
				m.parting, m.grace = false, 0
				m.cancel()
			} else {
				m.finish("closed")
			}
		default:
			m.now = end
			return
		}
		m.settle()
	}
}

func (m *model) cancel() {
	if !m.cancelled {
		m.cancelled = true
		m.seen(logCancel, "ended")
	}
}

// settle does everything that needs no further step.
func (m *model) settle() {
	m.flush()
	for m.reading && (m.inbox > 0 || m.phase == finished) {
		if m.inbox == 0 {
			m.reading = false
			m.seen(logReceive, "%s", m.verdict)
			return
		}
		n := min(m.inbox, inbox.Large)
		m.inbox -= n
		m.taken += n
		m.seen(logReceive, "%d bytes", n)
		m.reading = m.untilEnd
	}
}

// flush sends what waits, one after the other.
func (m *model) flush() {
	for len(m.outbox) > 0 {
		o := &m.outbox[0]
		fails := ""
		switch {
		case !o.started && o.data > 0 && m.closed:
			fails = "closed"
		case m.cancelled || m.ended || m.finished:
			fails = "broken"
		}
		o.started = true
		if fails == "" && m.stalled {
			return
		}
		said := *o
		m.outbox = m.outbox[1:]
		if fails != "" {
			if said.data > 0 {
				m.sent(fails)
			}
			continue
		}
		if said.data == 0 {
			m.seen(logWire, "%s", said.packet)
			continue
		}
		n := min(said.data, tunnel.SendUnit)
		m.seen(logWire, "DATA %d", n)
		if said.data -= n; said.data == 0 {
			m.sent("ok")
		} else {
			m.outbox = append(m.outbox, outgoing{data: said.data})
		}
	}
}

func (m *model) sent(how string) {
	m.writing = false
	m.seen(logSend, "%s", how)
}

// arrive applies a packet, or the end of the stream.
func (m *model) arrive(s step) {
	switch m.phase {
	case dialing:
		if s == srvDialOK {
			m.phase, m.conn = open, true
			m.seen(logDial, "ok")
			return
		}
		m.seen(logDial, "%s", map[step]string{
			srvDialRefused: "refused", srvDialCls: "no_agent, elsewhere",
			srvEnd: "server_unreachable, elsewhere", srvBreak: "server_unreachable, elsewhere",
		}[s]+otherwise(s, srvDialRefused, srvDialCls, srvEnd, srvBreak))
		m.answered(s)
	case abandoned:
		if s == srvDialOK {
			m.close()
			return
		}
		m.answered(s)
	case closing:
		switch s {
		case srvData, srvDataLarge, srvDataEmpty:
		case srvClose, srvCloseError:
			m.over("closed")
		default:
			m.finish("closed")
		}
	case finished:
		if m.parting && m.ended {
			m.parting, m.grace = false, 0
		}
	case open:
		switch s {
		case srvData, srvDataLarge, srvDataEmpty:
			m.inbox += s.bytes()
		case srvClose:
			m.over("end")
		case srvCloseError:
			m.over("broken")
		case srvDataError, srvEnd, srvBreak:
			m.finish("broken")
		default:
			m.finish("protocol")
		}
	}
}

// answered applies an answer that no connection follows.
func (m *model) answered(s step) {
	if s == srvDialRefused || s == srvDialCls {
		m.over("")
	} else {
		m.finish("")
	}
}

// otherwise returns the error of a dial that no answer fits.
func otherwise(s step, known ...step) string {
	for _, k := range known {
		if s == k {
			return ""
		}
	}
	return "protocol"
}

// over is the end of a stream which both sides know to be over.
func (m *model) over(verdict string) {
	if m.stalled && len(m.outbox) > 0 {
		m.finish(verdict) // a part of a packet was sent
		return
	}
	m.phase, m.verdict = finished, verdict
	m.parting, m.finished, m.grace = true, true, m.now+2*time.Second
	m.seen(logCancel, "in order")
}

func (m *model) finish(verdict string) {
	m.phase, m.verdict, m.grace = finished, verdict, 0
	m.cancel()
}

// interesting lists the steps that may change anything. Of those with the same meaning
// it has one.
func (m *model) interesting(all bool) []step {
	var some []step
	for s := range steps {
		if !all && s < srvStall && !slices.Contains(m.representatives(), s) {
			continue
		}
		server := s < srvEnd
		switch {
		case server || s == srvEnd || s == srvBreak:
			// Nothing that arrives in the end phase is read, so one step stands for
			// all.
			if m.ended || m.phase == finished && s != srvData && !(m.parting && s == srvEnd) {
				continue
			}
		case s == srvStall && (m.stalled || m.phase == finished), s == srvFlow && !m.stalled,
			s == appGiveUp && m.phase != dialing,
			s == appClose && (!m.conn || m.closed),
			(s == appReceive || s == appRead) && (!m.conn || m.reading),
			(s == appSend || s == appSendLarge) && (!m.conn || m.writing),
			(s == waitShort || s == waitLong) && m.phase != dialing && m.grace == 0:
			continue
		}
		some = append(some, s)
	}
	return some
}

// representatives are packets, each of which stands for others of the same meaning.
func (m *model) representatives() []step {
	switch m.phase {
	case dialing, abandoned:
		return []step{srvDialOK, srvDialRefused, srvData, srvBreak}
	case open:
		return []step{srvData, srvDataEmpty, srvDataOther, srvClose, srvCloseError, srvBreak}
	default:
		return []step{srvData, srvClose, srvBreak}
	}
}
