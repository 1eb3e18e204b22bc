// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// ackTimeout is how long a server's kernel may leave what ours sends without an
	// acknowledgement, where ours goes on asking.
	ackTimeout = 10 * time.Second
	// fewestAsks is how many retransmissions or window probes in a row must be
	// unanswered. Each may be lost on its own.
	fewestAsks = 3
	// answerTime is how long the last of them must have had for its answer.
	answerTime = time.Second
)

// ackClock tells how long a server's kernel has acknowledged nothing, from what
// ours knows of the connection (TCP_INFO, tcp(7)). Only a kernel that was asked
// can be silent.
//
// What is in flight is retransmitted, with growing pauses, until it is
// acknowledged. Where the server reads nothing, its receive window becomes zero,
// and our kernel holds the rest back and sends window probes instead. A live
// kernel answers each of them, for as long as the server pauses (RFC 9293, section
// 3.8.6.1). TCP_USER_TIMEOUT cannot be used: it ends a connection whose window
// stays zero although each probe is answered (tcp_probe_timer in
// net/ipv4/tcp_timer.c).
//
// The pause between two probes doubles, from 0.2 s up to two minutes
// (TCP_RTO_MAX). So a server that vanishes in the middle of a long pause is noticed
// after the next three probes: six minutes later at most.
type ackClock struct {
	running bool
	closed  bool      // the window is zero, or too small for what is to be sent
	acked   uint64    // bytes that were acknowledged when it began
	resent  uint32    // segments that had been sent again by then
	since   time.Time // when it began: nothing was acknowledged since
	asked   time.Time // when an unanswered ask was first seen; zero where none was
	enough  time.Time // when fewestAsks of them were first seen; zero where they were not
}

// look brings the clock up to date. outstanding says that the server's kernel has
// something to acknowledge, or to make room for. silent is how long it has
// answered nothing, and 0 where that is no reason to give it up.
func (c *ackClock) look(now time.Time, info *unix.TCPInfo) (outstanding bool, silent time.Duration) {
	if info.Unacked == 0 && info.Notsent_bytes == 0 {
		*c = ackClock{}
		return false, 0
	}
	if closed := info.Unacked == 0 || info.Snd_wnd == 0; !c.running || closed != c.closed || c.answered(now, info) {
		*c = ackClock{running: true, closed: closed, acked: info.Bytes_acked, resent: info.Total_retrans, since: now}
	}
	asks := c.asks(info)
	c.asked = firstSeen(c.asked, asks > 0, now)
	c.enough = firstSeen(c.enough, asks >= fewestAsks, now)
	if c.enough.IsZero() || now.Sub(c.enough) < answerTime {
		return true, 0
	}
	began := c.since
	if c.closed {
		began = c.asked // nothing was asked before
	}
	if silent = now.Sub(began); silent < ackTimeout {
		silent = 0
	}
	return true, silent
}

// answered reports whether the server's kernel has answered since the clock
// began. Where the window is open, only progress counts: it shows that what we
// send gets there. Where it is closed, there is none, and any acknowledgement
// counts.
func (c *ackClock) answered(now time.Time, info *unix.TCPInfo) bool {
	if !c.closed {
		return info.Bytes_acked != c.acked
	}
	return now.Add(-time.Duration(info.Last_ack_recv) * time.Millisecond).After(c.since)
}

// asks returns how many questions in a row are unanswered.
func (c *ackClock) asks(info *unix.TCPInfo) int {
	switch {
	case !c.closed:
		return int(info.Retransmits)
	case info.Unacked == 0:
		return int(info.Probes)
	default: // the window has closed over what was in flight, which is sent again as a probe
		return int(info.Total_retrans - c.resent)
	}
}

// firstSeen returns when something was first seen, given when it was before.
func firstSeen(before time.Time, seen bool, now time.Time) time.Time {
	switch {
	case !seen:
		return time.Time{}
	case before.IsZero():
		return now
	default:
		return before
	}
}
