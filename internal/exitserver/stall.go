// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// defaultStallInterval is how long a client may take nothing until its target is looked at.
const defaultStallInterval = time.Second

// stall notices that a target resets its connection while download waits for a client that
// takes nothing. Such a client may wait for hours. On a direct connection its kernel would
// tell it at once, and what the target has not sent by then would be lost as well.
type stall struct {
	stream *stream
	raw    syscall.RawConn // of the target
	active atomic.Bool
	timer  *time.Timer // nil until the first begin
}

// begin begins to look.
func (s *stall) begin() {
	if s.timer == nil {
		s.timer = time.AfterFunc(s.interval(), s.look)
	}
	s.active.Store(true)
	s.timer.Reset(s.interval())
}

func (s *stall) interval() time.Duration { return s.stream.client.server.stallInterval }

func (s *stall) look() {
	switch {
	case !s.active.Load():
	case sockio.HasError(s.raw):
		s.stream.end(CloseTargetReset)
	default:
		s.timer.Reset(s.interval())
	}
}

// stop ends it. One look may still be running.
func (s *stall) stop() {
	if s.timer != nil {
		s.active.Store(false)
		s.timer.Stop()
	}
}
