// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"math"

	"golang.org/x/net/http2"
)

// largestWindow is the largest window that HTTP/2 allows (RFC 9113 6.9.1), in bytes.
const largestWindow = math.MaxInt32

func (c *Conn) handleSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		c.settle()
		return nil
	}
	if !c.floods.idle() {
		return fault(http2.ErrCodeEnhanceYourCalm, "too many SETTINGS")
	}
	// A frame has as many settings as fit, and each may visit all streams.
	const most = 64
	if f.NumSettings() > most || f.HasDuplicates() {
		return fault(http2.ErrCodeEnhanceYourCalm, "SETTINGS with more than HTTP/2 has")
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return fault(http2.ErrCodeProtocol, "SETTINGS that HTTP/2 does not allow")
		}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			return c.setPeerWindow(int64(s.Val))
		case http2.SettingMaxFrameSize:
			c.peerFrame = int(s.Val)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.answer(appendSettingsAck(nil))
}

// settle notes that the client knows firstWindow. It now takes earlyWindow away from its
// windows, which may make them negative.
func (c *Conn) settle() {
	if c.settled {
		return
	}
	c.settled = true
	for _, s := range c.streams {
		s.in.credit -= s.in.early
		s.endEarly()
		if s.err == nil && !s.gotEnd {
			s.openWindow()
		}
	}
}

// setPeerWindow changes the window of each stream by as much as the setting changes, which
// may make it negative (RFC 9113 6.9.2).
func (c *Conn) setPeerWindow(window int64) error {
	by := window - c.peerWindow
	c.peerWindow = window
	for _, s := range c.streams {
		s.sendWindow += by
		if s.sendWindow > largestWindow {
			return fault(http2.ErrCodeFlowControl, "a window larger than HTTP/2 allows")
		}
		s.sendReady.Signal()
	}
	return nil
}

func (c *Conn) handleWindowUpdate(f *http2.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		c.sendWindow += int64(f.Increment)
		if c.sendWindow > largestWindow {
			return fault(http2.ErrCodeFlowControl, "a window larger than HTTP/2 allows")
		}
		c.out.space.Signal()
		return nil
	}
	s, err := c.streamOf(f.StreamID)
	if err != nil || s == nil {
		return err
	}
	s.sendWindow += int64(f.Increment)
	if s.sendWindow > largestWindow {
		return c.resetStream(s, http2.ErrCodeFlowControl)
	}
	s.sendReady.Signal()
	return nil
}
