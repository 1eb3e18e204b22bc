// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"cmp"
	"errors"
	"io"
	"os"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// upload moves what the client sends. downloaded is closed when download has returned.
func (s *stream) upload(downloaded <-chan struct{}) {
	metrics := s.client.server.Metrics
	for {
		p, err := s.http.Receive()
		if errors.Is(err, io.EOF) {
			s.clientEnded.Store(true)
			if err := s.conn.CloseWrite(); err != nil {
				s.targetGone(downloaded)
				return
			}
			if s.targetFIN.Load() {
				_ = s.conn.SetReadDeadline(time.Now()) // ends the wait in targetEnded
			}
			return
		}
		if err != nil {
			return // the cause has ended the target's connection too
		}
		n, err := s.write(p)
		s.fromClient.Add(int64(n))
		metrics.fromClients.Add(float64(n))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.end(CloseClientGone)
			return
		}
		if err != nil {
			s.targetGone(downloaded)
			return
		}
	}
}

// write writes p to the target. Without a client it waits only as long as the target takes
// some of it from time to time.
func (s *stream) write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var taken int
		taken, err = s.conn.Write(p[n:])
		n += taken
		if taken > 0 && s.clientless.Load() {
			s.extendRest()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = nil
			}
		}
	}
	return n, err
}

// limitRest is called after the client's connection has ended. A stream that had not ended
// is reset already. If one had, the target gets the rest of the upload, for TCP would
// deliver it too.
func (s *stream) limitRest() {
	s.clientless.Store(true)
	s.extendRest()
}

// extendRest gives the target RestTimeout for its next bytes.
func (s *stream) extendRest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.client.server.RestTimeout)) // fails if closed, as the write does
	}
}

// lastBytesTimeout is how long the client may take none of what the target has sent before
// its reset.
const lastBytesTimeout = 5 * time.Second

// targetGone ends the stream after upload has noticed that the target has reset its
// connection. What the target has sent before waits in the kernel. The client gets it
// first, since TCP would have delivered it. download ends the stream when it has read all.
//
// A client that takes nothing cannot be told that its own bytes are lost. So it has to take
// some from time to time.
func (s *stream) targetGone(downloaded <-chan struct{}) {
	s.blame(CloseTargetReset)
	if s.hasAll() {
		s.end(CloseTargetReset)
		return
	}
	progress := time.NewTicker(lastBytesTimeout)
	defer progress.Stop()
	for before := s.toClient.Load(); ; {
		select {
		case <-downloaded:
			return
		case <-progress.C:
		}
		now := s.toClient.Load()
		if now == before {
			s.end(CloseTargetReset)
			return
		}
		before = now
	}
}

// hasAll reports whether download has read and sent everything that has arrived from the
// target.
func (s *stream) hasAll() bool {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return true
	}
	s.moving.Lock()
	defer s.moving.Unlock()
	var unread int
	err = sockio.Control(raw, func(fd int) (err error) {
		unread, err = sockio.Unread(fd)
		return err
	})
	return err != nil || unread == 0
}

// blame keeps the first reason, and ends nothing.
func (s *stream) blame(reason CloseReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = cmp.Or(s.reason, reason)
}

// isBlamed reports whether the stream has a reason to end.
func (s *stream) isBlamed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason != ""
}
