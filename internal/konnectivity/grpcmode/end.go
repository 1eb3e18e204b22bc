// SPDX-License-Identifier: Apache-2.0

package grpcmode

import "time"

// reset ends the stream with a reset. The caller holds mu.
func (s *stream) reset(verdict error) { s.end(verdict, false) }

// end ends the stream. It does so in order if inOrder is true and no Send has sent only
// a part of a packet. In order means that each side ends its direction. Proxies in
// between, such as Envoy, count resets of young streams, and close a connection that
// has too many. The caller holds mu.
func (s *stream) end(verdict error, inOrder bool) {
	if s.phase == finished {
		return
	}
	s.phase, s.verdict = finished, verdict
	s.stopTimer()
	s.setStatus(statusGone)
	if s.counted {
		s.dialer.owner.ConnectionEnded()
	}
	if s.closed || !s.counted { // otherwise there are bytes for Receive
		s.inbox.Account.Close()
	}
	s.changed.Broadcast()
	if s.ending = inOrder && s.rpc.Finish(); s.ending {
		s.afterGrace(endGrace, func() {
			if s.ending {
				s.rpc.Cancel()
				s.giveBack()
			}
		})
		return
	}
	s.rpc.Cancel()
	s.giveBack()
}

// giveBack gives back what the stream has used, when the gRPC stream has ended. The
// caller holds mu.
func (s *stream) giveBack() {
	s.ending = false
	s.stopTimer()
	s.dialer.release(s.link)
	if s.inBackground {
		s.shared().Background.Done()
	}
}

// afterGrace calls late with mu held, unless stopTimer is called first. The caller
// holds mu.
func (s *stream) afterGrace(grace time.Duration, late func()) {
	s.stopTimer()
	s.timer = time.AfterFunc(grace, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late()
	})
}

func (s *stream) stopTimer() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}
