// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/inbox"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// abandonGrace is how long an abandoned dial waits for its answer. If the stream
	// ends right after a DIAL_RSP that the server has not recorded yet, the server
	// leaks the target's connection.
	abandonGrace = time.Second
	// endGrace is how long a server may take to end a stream after we have ended it in
	// order.
	endGrace = 2 * time.Second
)

var errDialClosed = errors.New("the agent closed the dial")

// phase is a state of a stream.
type phase uint8

const (
	dialing phase = iota
	abandoned
	open
	closing
	finished
)

// rpc is the gRPC stream of a stream. It is a grpcwire.Stream.
type rpc interface {
	Send(head, body []byte, more bool) error
	TrySend(p []byte) (sent bool, err error)
	Await()
	Taken(n int, more bool)
	Finish() bool
	Cancel()
}

// stream is one Proxy stream, which is one connection:
//
//	dialing ──DIAL_RSP──► open ──CLOSE_RSP──► finished
//	   │ gave up            │ Close              ▲
//	   ▼                    ▼                    │
//	abandoned ──DIAL_RSP─► closing ──CLOSE_RSP───┘
//
// Each of them becomes finished if the stream breaks or a grace ends. The server never
// ends a stream first, so end always does. A stream that has ended in order keeps its
// place on the link until the server has ended it too.
//
// The goroutine that reads the link deals with what arrives (arrive.go). A connection on
// which nothing happens has no goroutine.
type stream struct {
	dialer *Dialer
	link   *link // the connection under the stream
	random int64 // identifies the dial

	mu           sync.Mutex // guards the fields below
	changed      sync.Cond
	rpc          rpc
	phase        phase
	id           int64              // of the connection, once open
	answered     chan *tunnel.Error // gets the end of the dial; nil if no goroutine waits for it
	counted      bool               // the dial has succeeded, so the stream counts as load until it ends
	refused      bool               // the server did not process the stream
	closed       bool               // Close was called, or the dial succeeded after it was given up
	inBackground bool               // Dialer.Close waits for the stream
	timer        *time.Timer        // bounds an abandoned dial, the wait for CLOSE_RSP, and the wait for the server's end
	ending       bool               // the gRPC stream was ended in order, and the server has not ended it yet
	status       string             // of client_connections
	verdict      error              // what Receive returns once finished

	inbox     inbox.Inbox
	current   *inbox.Segment // what Receive has returned last
	receiving bool           // a Receive waits

	sending bool // a goroutine sends; there is one at a time
	senders int  // goroutines that wait to send
}

// newStream returns a stream on l. open makes its gRPC stream.
func (d *Dialer) newStream(l *link, open func(grpcwire.Handler) (rpc, error)) (*stream, error) {
	s := &stream{dialer: d, link: l, random: rand.Int64(), answered: make(chan *tunnel.Error, 1)}
	s.changed.L = &s.mu
	s.mu.Lock() // the gRPC stream may end at once
	defer s.mu.Unlock()
	s.inbox.Account = s.shared().Quota.Open(s.evict)
	var err error
	if s.rpc, err = open(s); err != nil {
		s.inbox.Account.Close()
		return nil, err
	}
	s.setStatus(statusCreated)
	return s, nil
}

func (s *stream) shared() *Shared   { return s.dialer.shared }
func (s *stream) metrics() *Metrics { return s.shared().Metrics }

// Server implements Conn.
func (s *stream) Server() string { return s.dialer.Server.Name }

// IDs implements tunnel.Identified. They exist once the dial has succeeded.
func (s *stream) IDs() tunnel.IDs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return tunnel.IDs{Dial: s.random, Connection: s.id}
}

// Held returns how many bytes are held for the connection, and whether it has ended.
func (s *stream) Held() (bytes int, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inbox.Account.Held(), s.phase == finished
}

// dial sends DIAL_REQ and waits for the answer, or for the end of ctx.
func (s *stream) dial(ctx context.Context, dst tunnel.Target) *tunnel.Error {
	s.mu.Lock()
	s.setStatus(statusDialing)
	answered := s.answered
	s.mu.Unlock()
	s.send(&client.Packet{
		Type: client.PacketType_DIAL_REQ,
		Payload: &client.Packet_DialRequest{
			DialRequest: &client.DialRequest{Protocol: "tcp", Address: dst.String(), Random: s.random},
		},
	})
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
	}
	s.mu.Lock()
	if s.phase != dialing {
		s.mu.Unlock()
		return <-answered // the answer came at the same moment
	}
	s.phase, s.answered = abandoned, nil
	s.keepInBackground(abandonGrace)
	s.mu.Unlock()
	s.send(&client.Packet{
		Type:    client.PacketType_DIAL_CLS,
		Payload: &client.Packet_CloseDial{CloseDial: &client.CloseDial{Random: s.random}},
	})
	return konnectivity.NoAnswer(ctx, s.dialer.Server.Name)
}

// wasRefused reports whether the dial has failed because the server did not process the
// stream.
func (s *stream) wasRefused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// keepInBackground keeps the stream in the background, and resets it after grace. The
// caller holds mu.
func (s *stream) keepInBackground(grace time.Duration) {
	if !s.inBackground {
		s.inBackground = true
		s.shared().Background.Add(1)
	}
	s.afterGrace(grace, func() { s.reset(tunnel.ErrClosed) })
}

// Send implements Conn.
func (s *stream) Send(p []byte) error {
	var head [maxDataHead]byte
	for len(p) > 0 {
		n := min(len(p), tunnel.SendUnit)
		if !s.startSend(client.PacketType_DATA) {
			return tunnel.ErrClosed
		}
		err := s.rpc.Send(appendDataHead(head[:0], s.id, n), p[:n], n < len(p))
		s.endSend(client.PacketType_DATA, err)
		if err != nil {
			return fmt.Errorf("%w: %w", tunnel.ErrBroken, err)
		}
		p = p[n:]
	}
	return nil
}

// startSend waits until no other goroutine sends. It returns false if no packet of this
// kind may be sent any more.
func (s *stream) startSend(kind client.PacketType) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.sending {
		s.senders++
		s.changed.Wait()
		s.senders--
	}
	if kind == client.PacketType_DATA && s.closed {
		// Behind CLOSE_REQ there is no connection for it.
		return false
	}
	s.sending = true
	return true
}

// endSend lets the next goroutine send.
func (s *stream) endSend(kind client.PacketType, err error) {
	s.metrics().sent(kind, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending = false
	if s.senders > 0 {
		s.changed.Broadcast()
	}
}

// send sends a packet that is not DATA. If it has to wait for that, it does so in the
// background. An error needs no handling: what has caused it ends the stream.
func (s *stream) send(pkt *client.Packet) {
	p := encode(pkt)
	s.mu.Lock()
	mine := !s.sending
	s.sending = true
	s.mu.Unlock()
	if mine {
		if sent, err := s.rpc.TrySend(p); sent {
			s.endSend(pkt.Type, err)
			return
		}
	}
	s.shared().Background.Go(func() {
		if !mine {
			s.startSend(pkt.Type)
		}
		s.endSend(pkt.Type, s.rpc.Send(p, nil, false))
	})
}

// Receive implements Conn.
func (s *stream) Receive() ([]byte, error) {
	pool := &s.shared().segments
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.inbox.GiveBack(pool, s.current)
		s.current = nil
	}
	for s.inbox.Empty() {
		if s.phase == finished {
			return nil, s.verdict
		}
		s.rpc.Await()
		s.receiving = true
		s.changed.Wait()
		s.receiving = false
	}
	s.current = s.inbox.Take()
	if s.phase != finished {
		s.rpc.Taken(s.current.Cost, false)
	}
	return s.current.Data, nil
}

// Close implements Conn.
func (s *stream) Close() error {
	s.mu.Lock()
	needed := s.startClose()
	s.mu.Unlock()
	if needed {
		s.sendCloseReq()
	}
	return nil
}

// startClose drops what was not received, and starts the wait for CLOSE_RSP. It reports
// whether CLOSE_REQ has to be sent. The caller holds mu.
func (s *stream) startClose() bool {
	if s.closed {
		return false
	}
	s.closed = true
	unread := !s.inbox.Empty()
	cost := s.inbox.Drop(&s.shared().segments)
	if s.phase == finished {
		s.inbox.Account.Close()
		if unread {
			s.verdict = tunnel.ErrClosed // io.EOF would say that everything was received
		}
		return false
	}
	s.phase = closing
	s.setStatus(statusClosing)
	s.keepInBackground(konnectivity.CloseGrace)
	s.rpc.Taken(cost, true)
	return true
}

func (s *stream) sendCloseReq() {
	s.send(&client.Packet{
		Type:    client.PacketType_CLOSE_REQ,
		Payload: &client.Packet_CloseRequest{CloseRequest: &client.CloseRequest{ConnectID: s.id}},
	})
}

// evict ends the stream because it holds more than any other connection while all
// together hold too much. The caller may hold any lock.
func (s *stream) evict() {
	s.shared().Background.Go(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		errUnreceived := fmt.Errorf("%w (%s)", tunnel.ErrUnreceived, s.dialer.Names().TotalBuffer)
		switch s.phase {
		case dialing, abandoned:
			s.dialEnded(&tunnel.Error{Reason: tunnel.ReasonMaxConnections, Server: s.Server(), Err: errUnreceived, Fault: tunnel.FaultProcess}, false)
		default:
			s.inbox.Drop(&s.shared().segments)
			s.reset(errUnreceived)
		}
	})
}

// AddBuffered implements grpcwire.BufferCounter.
func (s *stream) AddBuffered(by int) { s.inbox.Account.Take(by) }

// setStatus counts the connection under its next status. The caller holds mu.
func (s *stream) setStatus(to string) {
	if s.phase == finished && to != statusGone {
		return
	}
	s.metrics().moved(s.status, to)
	s.status = to
}
