// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runClock updates a clock from a record, as a watch does, until the server counts as
// gone or nothing is outstanding. It returns when that was.
func runClock(samples []sample) (at, silent time.Duration, outstanding bool) {
	var c ackClock
	began := time.Now()
	outstanding = true
	for end := samples[len(samples)-1].at + 60_000; silent == 0 && outstanding && at.Milliseconds() < int64(end); at += ackInterval {
		for len(samples) > 1 && int64(samples[1].at) <= at.Milliseconds() {
			samples = samples[1:]
		}
		outstanding, silent = c.update(began.Add(at), samples[0].info(at))
	}
	return at - ackInterval, silent, outstanding
}

// A kernel that answers each window probe is there, even if minutes lie between two
// probes. One that answers none is gone, even if the unanswered probes are far apart.
func TestAckClockOnRecords(t *testing.T) {
	for name, want := range map[string]struct {
		from, to time.Duration // when the server counts as gone; 0: not before all is acknowledged
	}{
		"pause":               {},
		"vanishes":            {from: ackTimeout, to: ackTimeout + ackInterval},
		"vanishes-in-a-pause": {from: 30*time.Second + ackTimeout, to: 30*time.Second + 6*time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			samples := readRecord(t, name)
			at, silent, outstanding := runClock(samples)
			if want.to == 0 {
				if silent != 0 || outstanding || at < 5*time.Minute {
					t.Errorf("at %s the server was silent for %s (outstanding: %v), want 0 until all is acknowledged, behind 5m", at, silent, outstanding)
				}
				return
			}
			if silent < ackTimeout || at < want.from || at > want.to {
				t.Errorf("at %s the server was silent for %s, want %s at least, and that from %s to %s", at, silent, ackTimeout, want.from, want.to)
			}
		})
	}
}

// TestAckClock has the cases that no record has. Each TCP_INFO is one second behind the
// one before.
func TestAckClock(t *testing.T) {
	type info = unix.TCPInfo
	// after is the age of an acknowledgement that came so many seconds into the test.
	after := func(second, came int) uint32 { return uint32(second-came) * 1000 }
	for name, test := range map[string]struct {
		tcpInfo func(second int) info
		stops   int // the clock is not updated in the seconds from 1 until this one
		gone    int // the second in which the server counts as gone; 0 means never
	}{
		"nothing is outstanding": {tcpInfo: func(s int) info {
			return info{Last_ack_recv: after(s, 0), Probes: 5, Retransmits: 5, Snd_wnd: 1}
		}},
		"the machine itself sends nothing": {tcpInfo: func(s int) info {
			return info{Notsent_bytes: 9, Snd_wnd: 1 << 16, Last_ack_recv: after(s, 0)}
		}},
		"the round trip is long, and two retransmissions are all": {tcpInfo: func(s int) info {
			return info{Unacked: 1, Snd_wnd: 1 << 16, Retransmits: uint8(min(s/7, 2)), Last_ack_recv: after(s, 0)}
		}},
		"the third retransmission has its time": {gone: 13, tcpInfo: func(s int) info {
			return info{Unacked: 1, Snd_wnd: 1 << 16, Retransmits: uint8(s / 4), Last_ack_recv: after(s, 0)}
		}},
		"the last retransmission is acknowledged in time": {tcpInfo: func(s int) info {
			return info{Unacked: 1, Snd_wnd: 1 << 16, Retransmits: uint8(s % 10), Bytes_acked: uint64(s / 10)}
		}},
		"acknowledgements without progress": {gone: 10, tcpInfo: func(s int) info {
			return info{Unacked: 1, Snd_wnd: 1 << 16, Retransmits: uint8(s)}
		}},
		"two probes of three are lost, each time": {tcpInfo: func(s int) info {
			return info{Notsent_bytes: 9, Probes: uint8(s / 20 % 3), Last_ack_recv: after(s, s-s%60)}
		}},
		"the third probe has its time": {gone: 61, tcpInfo: func(s int) info {
			return info{Notsent_bytes: 9, Probes: uint8(s / 20), Last_ack_recv: after(s, 0)}
		}},
		"probes in quick succession": {gone: 11, tcpInfo: func(s int) info {
			return info{Notsent_bytes: 9, Probes: uint8(s), Last_ack_recv: after(s, 0)}
		}},
		"a window that closes over what is in flight": {tcpInfo: func(s int) info {
			return info{Unacked: 1, Notsent_bytes: 9, Total_retrans: uint32(s), Last_ack_recv: after(s, s)}
		}},
		"the same, and nothing comes back": {gone: 41, tcpInfo: func(s int) info {
			return info{Unacked: 1, Notsent_bytes: 9, Total_retrans: uint32(s), Last_ack_recv: after(s, min(s, 30))}
		}},
		"the window opens, and what follows is lost": {gone: 50, tcpInfo: func(s int) info {
			if s < 40 {
				return info{Notsent_bytes: 9, Last_ack_recv: after(s, s-s%13)}
			}
			return info{Unacked: 1, Snd_wnd: 1 << 16, Retransmits: uint8(s - 40), Last_ack_recv: after(s, 39)}
		}},
		"the sidecar was stopped for minutes, with its machine": {stops: 300, gone: 303, tcpInfo: func(s int) info {
			return info{Unacked: 1, Snd_wnd: 1 << 16, Retransmits: uint8(max(0, s-299)), Last_ack_recv: after(s, 0)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var c ackClock
			began := time.Now()
			for s := range 600 {
				if s > 0 && s < test.stops {
					continue
				}
				i := test.tcpInfo(s)
				_, silent := c.update(began.Add(time.Duration(s)*time.Second), &i)
				if gone := silent > 0; gone != (s == test.gone && s > 0) {
					t.Fatalf("in second %d the server was silent for %s, want it gone in second %d", s, silent, test.gone)
				} else if gone {
					return
				}
			}
			if test.gone != 0 {
				t.Errorf("the server is not gone, want it so in second %d", test.gone)
			}
		})
	}
}
