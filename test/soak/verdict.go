// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// ending is how a connection ended, as its app saw it.
type ending string

const (
	cleanEnd  ending = "end"       // FIN, or the app had got all it wanted and closed
	resetEnd  ending = "reset"     // RST
	hungEnd   ending = "hung"      // nothing moved for longer than hang
	oddEnd    ending = "odd error" // an error that no connection should get
	abandoned ending = "abandoned" // the app closed it before its end
)

// endingOf classifies the error that ended a read or write.
func endingOf(err error) ending {
	var timeout net.Error
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return cleanEnd
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return resetEnd
	case errors.As(err, &timeout) && timeout.Timeout():
		return hungEnd
	default:
		return oddEnd
	}
}

// expectation is how a connection must end if nothing disturbs it.
type expectation int

const (
	whole     expectation = iota // all bytes, then the end
	noTarget                     // a reset without a byte: there is no target
	noEnd                        // a reset, because its target waits for an EOF that cannot come
	tooSlow                      // a reset, because the app does not read
	oneWay                       // the app sends and closes; the target's side is judged
	justLeave                    // any end: the app gives up
)

// outcome is one connection as its app saw it.
type outcome struct {
	kind     string
	expected expectation
	id       uint64         // of its streams; 0 if its target keeps no record
	local    netip.AddrPort // as the app sees it; invalid for curl
	to       netip.AddrPort

	began, ended time.Time

	refused   bool  // the sidecar did not accept it
	want, got int64 // bytes of the answer, including a greeting
	greeting  int64
	sent      int64     // bytes of the app's stream that its kernel took
	wrote     time.Time // when the app last wrote
	ending    ending
	err       error // the cause, if the ending was not the expected one
}

// judgement is the result of judge: one of three.
type judgement int

const (
	right judgement = iota
	excused
	broken
)

// judge decides about a connection. why says what was not whole.
func judge(o outcome, x excuse) (verdict judgement, why string) {
	var wrong *wrongByteError
	switch {
	case errors.As(o.err, &wrong):
		return broken, "the app got a wrong byte: " + wrong.Error()
	case o.got > o.want:
		return broken, fmt.Sprintf("the app got %d bytes of %d", o.got, o.want)
	case o.ending == hungEnd:
		return broken, fmt.Sprintf("it hung after %d bytes of %d, %d sent: %v", o.got, o.want, o.sent, o.err)
	case o.ending == oddEnd:
		return broken, fmt.Sprintf("after %d bytes of %d, %d sent: %v", o.got, o.want, o.sent, o.err)
	case o.ending == abandoned:
		return right, ""
	}
	switch o.expected {
	case noTarget:
		return judgeNoTarget(o)
	case noEnd, tooSlow:
		if o.ending == resetEnd {
			return right, ""
		}
	case whole, oneWay, justLeave:
		if o.ending == cleanEnd && o.got == o.want {
			return right, ""
		}
	}
	return judgeLoss(o, x)
}

// judgeNoTarget decides about a dial that failed, which must never look like an end.
func judgeNoTarget(o outcome) (judgement, string) {
	if o.ending == resetEnd && o.got == 0 {
		return right, ""
	}
	return broken, fmt.Sprintf("nobody is there, yet it ended in %q after %d bytes", o.ending, o.got)
}

// judgeLoss decides about an app that did not get what it would have got without a
// disturbance.
func judgeLoss(o outcome, x excuse) (judgement, string) {
	why := fmt.Sprintf("%s after %d bytes of %d, %d sent", o.ending, o.got, o.want, o.sent)
	switch {
	case o.ending == resetEnd && (x.reset || x.late),
		o.ending == resetEnd && x.dial && o.got == 0,
		// The app's request met a target that had closed before.
		o.ending == resetEnd && x.early && o.got == 0,
		o.ending == cleanEnd && x.early:
		return excused, why
	default:
		return broken, why
	}
}

// record is one connection as its target saw it.
type record struct {
	script script
	got    int64 // number of right bytes of the app's stream
	wrong  error // the first error
	ended  time.Time
}

// judgeTarget compares what the target got with what its app sent and got. The excuse is
// for the connection's life until the target's side ended. r is nil if the connection did
// not reach a target.
func judgeTarget(o outcome, r *record, x excuse) (verdict judgement, why string) {
	if r == nil {
		if o.got > o.greeting {
			return broken, "its app got an answer from a target that has never seen it"
		}
		r = &record{}
	} else if r.ended.IsZero() {
		return broken, "its target's side has never ended"
	}
	switch {
	case r.wrong != nil:
		return broken, fmt.Sprintf("its target: %v", r.wrong)
	case r.got > o.sent:
		return broken, fmt.Sprintf("its target got %d bytes, but %d were sent", r.got, o.sent)
	case r.got < r.script.needs(o.got-o.greeting):
		return broken, fmt.Sprintf("its app got %d bytes of answers, but its target only %d of questions", o.got, r.got)
	case o.expected != oneWay || r.got == o.sent:
		return right, ""
	}
	why = fmt.Sprintf("its target got %d bytes of %d", r.got, o.sent)
	if x.tail || x.dial && r.got == 0 {
		return excused, why
	}
	return broken, why
}
