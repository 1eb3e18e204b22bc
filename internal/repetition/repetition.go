// SPDX-License-Identifier: Apache-2.0

// Package repetition decides which of many equal events get a log line of their own. The
// others share a line, which says how many they were.
//
//	if lines.Add(now) {
//		log.Warn("a connection was not made", …)
//	}
//	…
//	if times := lines.Due(now, false); times > 0 { // at intervals
//		log.Warn("connections were not made", "times", times, …)
//	}
//
// It logs nothing itself, and does not know which events are equal.
package repetition

import "time"

const (
	// AtOnce is how many events get a line of their own in one Interval.
	AtOnce = 5
	// Interval is the least time between two lines about the others.
	Interval = 10 * time.Second
)

// Lines counts equal events. The zero value has counted none. It is not safe for
// concurrent use.
type Lines struct {
	began  time.Time // of the interval
	lines  int       // in the interval
	silent int       // events without a line
}

// Add counts an event. It reports whether the event gets a line of its own.
func (l *Lines) Add(now time.Time) bool {
	if l.isOver(now) && l.silent == 0 {
		l.began, l.lines = now, 0
	}
	if l.lines < AtOnce {
		l.lines++
		return true
	}
	l.silent++
	return false
}

func (l *Lines) isOver(now time.Time) bool { return now.Sub(l.began) >= Interval }

// Silent returns how many events have no line yet, and since when the line about them is
// waited for.
func (l *Lines) Silent() (times int, since time.Time) { return l.silent, l.began }

// Due returns how many events the line that is due at now is about, and 0 if none is. If
// all is true, it does not wait for the end of the interval. The next such line comes after
// another interval.
func (l *Lines) Due(now time.Time, all bool) (times int) {
	if l.silent == 0 || !all && !l.isOver(now) {
		return 0
	}
	times = l.silent
	l.silent, l.began, l.lines = 0, now, AtOnce
	return times
}

// IsIdle reports whether the events have stopped: nothing is to be logged about them any
// more, and the next one gets a line of its own.
func (l *Lines) IsIdle(now time.Time) bool { return l.silent == 0 && l.isOver(now) }
