// SPDX-License-Identifier: Apache-2.0

package h2server

import "time"

// The frames for which a client can make the server work without an effort of its own: how
// many may come at once, and how many more in a second. Clients that serve apps send far
// fewer.
const (
	idleBurst, idlePerSecond       = 1000, 100
	mistakeBurst, mistakePerSecond = 100, 10
	refusedPerSecond               = 1000
)

// floods are the bounds of one connection. They belong to the reading goroutine.
type floods struct {
	idles, mistakes, refusals bucket
}

func newFloods(maxStreams int) floods {
	return floods{
		idles:    bucket{burst: idleBurst, perSecond: idlePerSecond},
		mistakes: bucket{burst: mistakeBurst, perSecond: mistakePerSecond},
		// All apps of a client may give up their dials at once, and try again.
		refusals: bucket{burst: float64(2*maxStreams + 1000), perSecond: refusedPerSecond},
	}
}

// idle counts a frame that asks for nothing, or for a short answer. It returns false if
// there are too many.
func (f *floods) idle() bool { return f.idles.take(time.Now()) }

// mistake counts a frame for which a stream was reset.
func (f *floods) mistake() bool { return f.mistakes.take(time.Now()) }

// refused counts a stream that was refused, or reset before its answer.
func (f *floods) refused() bool { return f.refusals.take(time.Now()) }

// bucket counts events, of which burst may come at once.
type bucket struct {
	burst, perSecond float64
	used             float64
	at               time.Time // of the last event
}

// take counts an event at now. It returns false if there were too many.
func (b *bucket) take(now time.Time) bool {
	if !b.at.IsZero() {
		b.used = max(0, b.used-now.Sub(b.at).Seconds()*b.perSecond)
	}
	b.at = now
	b.used++
	return b.used <= b.burst
}
