// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"fmt"
	"time"

	"golang.org/x/net/http2"
)

// handleSettings applies the server's settings (RFC 9113, section 6.5.2).
func (c *Conn) handleSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		c.settingsAcked()
		return nil
	}
	// The acknowledgement goes before everything that is sent under the new settings. A
	// server need not expect that earlier (RFC 9113, section 6.5.3).
	grown := false
	defer func() { // runs after mu is unlocked
		if grown && c.cfg.LimitRaised != nil {
			c.cfg.LimitRaised()
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.maxStreams
	if err := f.ForeachSetting(c.applySetting); err != nil {
		return err
	}
	grown = c.maxStreams > before
	if !c.gotSettings.Swap(true) {
		close(c.ready)
	}
	return c.queueAnswer(func(b []byte) []byte { return appendFrame(b, 0, http2.FrameSettings, http2.FlagSettingsAck, 0) })
}

// applySetting applies one setting. The caller holds mu.
func (c *Conn) applySetting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingEnablePush:
		if s.Val != 0 { // only a client may set it (RFC 9113, section 6.5.2)
			return fmt.Errorf("SETTINGS_ENABLE_PUSH of %d: %w", s.Val, http2.ConnectionError(http2.ErrCodeProtocol))
		}
	case http2.SettingMaxConcurrentStreams:
		c.maxStreams = s.Val
	case http2.SettingMaxFrameSize:
		c.peer.frame = int(s.Val)
	case http2.SettingHeaderTableSize:
		c.encoder.SetMaxDynamicTableSize(min(s.Val, 4096))
	case http2.SettingInitialWindowSize:
		by := int(s.Val) - c.peer.streamWindow
		c.peer.streamWindow = int(s.Val)
		c.streamsMutex.Lock()
		defer c.streamsMutex.Unlock()
		for _, stream := range c.streams {
			// It may become negative (RFC 9113, section 6.9.2).
			if stream.sendWindow += by; stream.sendWindow > maxWindowBytes {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
			stream.changed.Broadcast()
		}
	}
	return nil
}

// ownWindow is our SETTINGS_INITIAL_WINDOW_SIZE. A change of it changes the windows of all
// streams, open ones too (RFC 9113, section 6.9.2).
type ownWindow struct {
	wanted  int
	sent    int  // the last one sent: new streams begin with it
	unacked bool // our last SETTINGS frame is not acknowledged
	since   time.Time
	less    int    // bytes by which it makes windows smaller
	before  uint32 // it does so with the streams below this number
}

// SetStreamWindow changes Config.StreamWindow, and with it the windows of all streams. They
// may become negative. One change is sent at a time. If several follow each other, the last
// one counts.
func (c *Conn) SetStreamWindow(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window.wanted = bytes
	c.sendStreamWindow()
	c.flush()
}

// sendStreamWindow appends the SETTINGS frame for window.wanted, unless one is on its way.
// A larger window counts at once: the server may use it before its acknowledgement arrives.
// A smaller one counts when it is acknowledged. The caller holds mu.
func (c *Conn) sendStreamWindow() {
	w := &c.window
	by := w.wanted - w.sent
	if w.unacked || by == 0 || c.err != nil {
		return
	}
	w.sent, w.before, w.less = w.wanted, c.nextID, max(0, -by)
	w.unacked, w.since = true, time.Now()
	c.out = appendSettings(c.out, http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(w.sent)})
	if by > 0 {
		c.changeWindows(by)
	}
}

// Unacknowledged returns how long the server has not acknowledged our last SETTINGS frame,
// or 0 if it has. Until then it may use the larger windows of before.
func (c *Conn) Unacknowledged() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.window.unacked {
		return 0
	}
	return time.Since(c.window.since)
}

// settingsAcked notes that the server has applied our last SETTINGS frame.
func (c *Conn) settingsAcked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &c.window
	if !w.unacked {
		return
	}
	if w.less > 0 {
		c.changeWindows(-w.less)
	}
	w.unacked, w.less = false, 0
	c.sendStreamWindow()
}

// changeWindows changes the windows of the streams below window.before. The handlers of
// smaller ones are told by Arrived. The caller holds mu.
func (c *Conn) changeWindows(by int) {
	c.streamsMutex.Lock()
	defer c.streamsMutex.Unlock()
	for id, s := range c.streams {
		if id < c.window.before {
			s.recvWindow.Add(int64(by))
			if by < 0 { // so Run is the caller
				s.NoteArrival()
			}
		}
	}
}
