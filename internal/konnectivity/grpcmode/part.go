// SPDX-License-Identifier: Apache-2.0

package grpcmode

import "time"

// finish ends the stream with a reset. The caller holds mu.
func (s *stream) finish(verdict error) { s.over(verdict, false) }

// over ends the stream, in order where that is asked for and no Send has sent only a
// part of a packet. In order means that both sides say that they are done. Proxies in
// between, such as Envoy, count resets of young streams, and close a connection that
// has too many of them. The caller holds mu.
func (s *stream) over(verdict error, inOrder bool) {
	if s.phase == finished {
		return
	}
	s.phase, s.verdict = finished, verdict
	s.stopWaiting()
	s.move(statusGone)
	if s.carried {
		s.endpoint.owner.ConnectionEnded()
	}
	if s.closed || !s.carried { // else what was not received is still here
		s.inbox.account.Close()
	}
	s.changed.Broadcast()
	if s.parting = inOrder && s.rpc.Finish(); s.parting {
		s.await(endGrace, func() {
			if s.parting {
				s.rpc.Cancel()
				s.part()
			}
		})
		return
	}
	s.rpc.Cancel()
	s.part()
}

// part gives back what the gRPC stream has held, which has ended. The caller holds
// mu.
func (s *stream) part() {
	s.parting = false
	s.stopWaiting()
	s.endpoint.release(s.link)
	if s.held {
		s.shared().Background.Done()
	}
}

// await has late called with mu held, unless stopWaiting is called first. The
// caller holds mu.
func (s *stream) await(grace time.Duration, late func()) {
	s.stopWaiting()
	s.grace = time.AfterFunc(grace, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late()
	})
}

func (s *stream) stopWaiting() {
	if s.grace != nil {
		s.grace.Stop()
		s.grace = nil
	}
}
