// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// ackTimeout is how long a server's kernel may acknowledge nothing of what our kernel
	// sends and sends again.
	ackTimeout = 10 * time.Second
	// minProbes is how many probes in a row must be unanswered. Each may be lost on its
	// own. A probe is a retransmission or a window probe.
	minProbes = 3
	// answerTime is how long the last of these probes must have been without an answer.
	answerTime = time.Second
)

// ackClock measures how long a server's kernel has acknowledged nothing, from what our
// kernel knows of the connection (TCP_INFO, tcp(7)).
//
// Our kernel retransmits what is in flight, with growing pauses, until it is
// acknowledged. If the server reads nothing, its receive window becomes zero. Then our
// kernel holds the rest back and sends window probes. A kernel that runs answers each of
// them, however long the server pauses (RFC 9293, section 3.8.6.1). TCP_USER_TIMEOUT
// cannot be used: it ends a connection whose window stays zero although each probe is
// answered (tcp_probe_timer in net/ipv4/tcp_timer.c).
//
// The pause between two window probes doubles, from 0.2 s up to two minutes
// (TCP_RTO_MAX). A server that vanishes in the middle of a long pause is noticed after
// the next three probes, which is six minutes later at most.
type ackClock struct {
	running bool
	closed  bool      // the window is zero, or too small for what is to be sent
	acked   uint64    // bytes that were acknowledged when the clock began
	resent  uint32    // segments that had been sent again when the clock began
	since   time.Time // when the clock began; nothing was acknowledged since
	probed  time.Time // when an unanswered probe was first seen; zero if none was
	enough  time.Time // when minProbes unanswered probes were first seen; zero if they were not
}

// update brings the clock up to date. outstanding reports whether the server's kernel has
// something to acknowledge, or to make room for. silent is how long that kernel has
// answered nothing, or 0 if that is no reason to end the connection.
func (c *ackClock) update(now time.Time, info *unix.TCPInfo) (outstanding bool, silent time.Duration) {
	if info.Unacked == 0 && info.Notsent_bytes == 0 {
		*c = ackClock{}
		return false, 0
	}
	if closed := info.Unacked == 0 || info.Snd_wnd == 0; !c.running || closed != c.closed || c.answered(now, info) {
		*c = ackClock{running: true, closed: closed, acked: info.Bytes_acked, resent: info.Total_retrans, since: now}
	}
	unanswered := c.unanswered(info)
	c.probed = firstSeen(c.probed, unanswered > 0, now)
	c.enough = firstSeen(c.enough, unanswered >= minProbes, now)
	if c.enough.IsZero() || now.Sub(c.enough) < answerTime {
		return true, 0
	}
	began := c.since
	if c.closed {
		began = c.probed // before, there was nothing to answer
	}
	if silent = now.Sub(began); silent < ackTimeout {
		silent = 0
	}
	return true, silent
}

// answered reports whether the server's kernel has answered since the clock began. While
// the window is open, only progress counts, because it shows that what we send arrives.
// While the window is closed, there is no progress, and any acknowledgement counts.
func (c *ackClock) answered(now time.Time, info *unix.TCPInfo) bool {
	if !c.closed {
		return info.Bytes_acked != c.acked
	}
	return now.Add(-time.Duration(info.Last_ack_recv) * time.Millisecond).After(c.since)
}

// unanswered returns how many probes in a row are unanswered.
func (c *ackClock) unanswered(info *unix.TCPInfo) int {
	switch {
	case !c.closed:
		return int(info.Retransmits)
	case info.Unacked == 0:
		return int(info.Probes)
	default: // the window has closed while bytes were in flight; sent again, they are a probe
		return int(info.Total_retrans - c.resent)
	}
}

// firstSeen returns when a condition was first seen. before is the value so far, and
// seen says whether the condition is true at now.
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
