// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// Monitor reads the progress of a relay. It may be used at any time, also after the end.
// The zero value has no relay.
type Monitor struct{ relay *relay }

// Progress is what a relay has moved so far.
type Progress struct {
	Sent, Received int64         // bytes, as in Result
	Held           int           // bytes that the app has not taken yet
	Idle           time.Duration // since a byte last moved
}

// Progress returns the progress at now.
func (m Monitor) Progress(now time.Time) Progress {
	r := m.relay
	if r == nil {
		return Progress{}
	}
	return Progress{
		Sent: r.sent.Load(), Received: r.received.Load(), Held: r.way.held(),
		Idle: max(0, now.Sub(r.lastMove.time(r.started))),
	}
}
