// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// abandonGrace is how long an abandoned dial is still listened to. A server
	// that has just sent DIAL_RSP but not yet written it down would leak the
	// target's connection if its stream ended then.
	abandonGrace = time.Second
	// endGrace is how long a server may take to end a stream that we have ended in
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

// rpc is the gRPC stream under a stream: a grpcwire.Stream.
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
// and from each of them to finished where the stream breaks or a grace ends.
// The server never ends a stream by itself, so finish always does. A stream that is
// over in order keeps its place on the link until the server has ended it too.
//
// What the server says is dealt with when it arrives, in the goroutine that reads
// the link (arrive.go). A connection on which nothing happens has no goroutine.
type stream struct {
	endpoint *Dialer
	link     *link // carries it
	random   int64 // identifies the dial

	mu       sync.Mutex // guards what follows
	changed  sync.Cond
	rpc      rpc
	phase    phase
	id       int64              // of the connection, once open
	answered chan *tunnel.Error // how the dial ended; nil when nobody waits for it
	carried  bool               // the dial has succeeded, and what it counted for is ours
	refused  bool               // the server never looked at the stream
	closed   bool               // Close was called, or would have been
	held     bool               // Dialer.Close waits for it
	grace    *time.Timer        // ends an abandoned dial, and the waits for CLOSE_RSP and for the server's end
	parting  bool               // the gRPC stream was ended in order, and the server has not yet ended it
	status   string             // of client_connections
	verdict  error              // what Receive returns once finished

	inbox     inbox
	current   *segment // what Receive has returned last
	receiving bool     // a Receive waits

	sending bool // one Send at a time
	senders int  // that wait for it
}

// newStream returns a stream on l that open gives a gRPC stream.
func (e *Dialer) newStream(l *link, open func(grpcwire.Handler) (rpc, error)) (*stream, error) {
	s := &stream{endpoint: e, link: l, random: rand.Int64(), answered: make(chan *tunnel.Error, 1)}
	s.changed.L = &s.mu
	s.mu.Lock() // its end may come at once
	defer s.mu.Unlock()
	s.inbox.account = s.shared().Quota.Open(s.evict)
	var err error
	if s.rpc, err = open(s); err != nil {
		s.inbox.account.Close()
		return nil, err
	}
	s.move(statusCreated)
	return s, nil
}

func (s *stream) shared() *Shared   { return s.endpoint.shared }
func (s *stream) metrics() *Metrics { return s.shared().Metrics }

// Server implements Conn.
func (s *stream) Server() string { return s.endpoint.Server.Name }

// Held returns how many bytes are held for the connection, and whether it is over.
func (s *stream) Held() (bytes int, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inbox.account.Held(), s.phase == finished
}

// dial sends DIAL_REQ and waits for the answer, or for ctx.
func (s *stream) dial(ctx context.Context, dst netip.AddrPort) *tunnel.Error {
	s.mu.Lock()
	s.move(statusDialing)
	answered := s.answered
	s.mu.Unlock()
	s.say(&client.Packet{
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
		return <-answered // it came at the same moment
	}
	s.phase, s.answered = abandoned, nil
	s.linger(abandonGrace)
	s.mu.Unlock()
	s.say(&client.Packet{
		Type:    client.PacketType_DIAL_CLS,
		Payload: &client.Packet_CloseDial{CloseDial: &client.CloseDial{Random: s.random}},
	})
	return konnectivity.NoAnswer(ctx, s.endpoint.Server.Name)
}

// wasRefused reports whether the server has not looked at the stream, whose dial
// has failed.
func (s *stream) wasRefused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// linger leaves the stream to the background, for so long at most. The caller
// holds mu.
func (s *stream) linger(grace time.Duration) {
	if !s.held {
		s.held = true
		s.shared().Background.Add(1)
	}
	s.await(grace, func() { s.finish(tunnel.ErrClosed) })
}

// Send implements Conn.
func (s *stream) Send(p []byte) error {
	var head [maxDataHead]byte
	for len(p) > 0 {
		n := min(len(p), tunnel.SendUnit)
		if !s.begin(client.PacketType_DATA) {
			return tunnel.ErrClosed
		}
		err := s.rpc.Send(appendDataHead(head[:0], s.id, n), p[:n], n < len(p))
		s.done(client.PacketType_DATA, err)
		if err != nil {
			return fmt.Errorf("%w: %w", tunnel.ErrBroken, err)
		}
		p = p[n:]
	}
	return nil
}

// begin waits until it is the caller's turn to send. It returns false where
// nothing of this kind may be sent any more.
func (s *stream) begin(kind client.PacketType) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.sending {
		s.senders++
		s.changed.Wait()
		s.senders--
	}
	if kind == client.PacketType_DATA && s.closed {
		// Behind CLOSE_REQ there is no connection any more that it could be for.
		return false
	}
	s.sending = true
	return true
}

// done ends the turn.
func (s *stream) done(kind client.PacketType, err error) {
	s.metrics().sent(kind, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending = false
	if s.senders > 0 {
		s.changed.Broadcast()
	}
}

// say sends a packet that is not DATA, in the background where it has to wait. Why
// it cannot be sent is what ends the stream.
func (s *stream) say(pkt *client.Packet) {
	p := encode(pkt)
	s.mu.Lock()
	mine := !s.sending
	s.sending = true
	s.mu.Unlock()
	if mine {
		if sent, err := s.rpc.TrySend(p); sent {
			s.done(pkt.Type, err)
			return
		}
	}
	s.shared().Background.Go(func() {
		if !mine {
			s.begin(pkt.Type)
		}
		s.done(pkt.Type, s.rpc.Send(p, nil, false))
	})
}

// Receive implements Conn.
func (s *stream) Receive() ([]byte, error) {
	pool := &s.shared().segments
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.inbox.giveBack(pool, s.current)
		s.current = nil
	}
	for s.inbox.first == nil {
		if s.phase == finished {
			return nil, s.verdict
		}
		s.rpc.Await()
		s.receiving = true
		s.changed.Wait()
		s.receiving = false
	}
	s.current = s.inbox.take()
	if s.phase != finished {
		s.rpc.Taken(s.current.cost, false)
	}
	return s.current.data, nil
}

// Close implements Conn.
func (s *stream) Close() error {
	s.mu.Lock()
	said := s.hangUp()
	s.mu.Unlock()
	if said {
		s.sayCloseReq()
	}
	return nil
}

// hangUp drops what nobody will receive, and waits for CLOSE_RSP from now on,
// within closeGrace. It reports whether CLOSE_REQ has to be said. The caller holds
// mu.
func (s *stream) hangUp() bool {
	if s.closed {
		return false
	}
	s.closed = true
	unread := s.inbox.first != nil
	cost := s.inbox.drop(&s.shared().segments)
	if s.phase == finished {
		s.inbox.account.Close()
		if unread {
			s.verdict = tunnel.ErrClosed // and not the end of something that was not received in full
		}
		return false
	}
	s.phase = closing
	s.move(statusClosing)
	s.linger(konnectivity.CloseGrace)
	s.rpc.Taken(cost, true)
	return true
}

func (s *stream) sayCloseReq() {
	s.say(&client.Packet{
		Type:    client.PacketType_CLOSE_REQ,
		Payload: &client.Packet_CloseRequest{CloseRequest: &client.CloseRequest{ConnectID: s.id}},
	})
}

// evict ends the stream, which holds more than any other connection while all hold too
// much. Its caller may hold any lock.
func (s *stream) evict() {
	s.shared().Background.Go(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		errUnreceived := fmt.Errorf("%w (%s)", tunnel.ErrUnreceived, s.endpoint.Names().TotalBuffer)
		switch s.phase {
		case dialing, abandoned:
			s.dialed(&tunnel.Error{Reason: tunnel.ReasonMaxConnections, Server: s.Server(), Err: errUnreceived, Fault: tunnel.FaultProcess}, false)
		default:
			s.inbox.drop(&s.shared().segments)
			s.finish(errUnreceived)
		}
	})
}

// AddBuffered implements grpcwire.BufferCounter.
func (s *stream) AddBuffered(by int) { s.inbox.account.Take(by) }

// move counts the connection under its next status. The caller holds mu.
func (s *stream) move(to string) {
	if s.phase == finished && to != statusGone {
		return
	}
	s.metrics().moved(s.status, to)
	s.status = to
}
