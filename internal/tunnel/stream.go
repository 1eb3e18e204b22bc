// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

const (
	// maxData is how many bytes one DATA packet carries at most. Agents queue
	// packets, not bytes, and serve all connections from one loop: small ones
	// keep it turning.
	maxData = 32 << 10
	// abandonGrace is how long an abandoned dial is still listened to. A server
	// that has just sent DIAL_RSP but not yet written it down would leak the
	// target's connection if its stream ended then.
	abandonGrace = time.Second
	// closeGrace bounds the wait for CLOSE_RSP. A stream that ends earlier makes
	// the server answer each late DATA packet.
	closeGrace = 2 * time.Second
)

var errDialClosed = errors.New("the agent closed the dial")

// stream is one Proxy stream, which is one connection:
//
//	dialing ──DIAL_RSP──► open ──CLOSE_RSP──► finished
//	   │ gave up            │ Close              ▲
//	   ▼                    ▼                    │
//	abandoned ──DIAL_RSP─► closing ──CLOSE_RSP───┘
//
// and from each of them to finished where the stream breaks or a grace ends.
// The server never ends a stream by itself, so finish always does.
type stream struct {
	endpoint *endpoint
	link     *link // carries it
	rpc      client.ProxyService_ProxyClient
	cancel   context.CancelFunc
	random   int64 // identifies the dial

	id       int64 // of the connection; set before answered
	answered chan *Error
	decided  atomic.Bool // who comes first: the agent's answer, or giving up
	carried  atomic.Bool // the dial has succeeded, and what it counted for is ours

	sending   turn // one Send at a time, as gRPC asks
	receiving turn // one Recv at a time
	closing   atomic.Bool
	finished  atomic.Bool // no packet will be read any more
	verdict   error       // under receiving: what Receive returns once finished
	grace     *time.Timer // ends an abandoned dial

	statusMu sync.Mutex
	status   string // of client_connections
}

// newStream returns the stream that rpc, which cancel ends, is on l.
func (e *endpoint) newStream(l *link, rpc client.ProxyService_ProxyClient, cancel context.CancelFunc) *stream {
	s := &stream{
		endpoint: e, link: l, rpc: rpc, cancel: cancel, random: rand.Int64(),
		answered: make(chan *Error, 1), sending: newTurn(), receiving: newTurn(),
	}
	s.move(statusCreated)
	return s
}

func (s *stream) metrics() *Metrics { return s.endpoint.server.dialer.metrics }

// Server implements Conn.
func (s *stream) Server() string { return s.endpoint.server.Name }

// dial sends DIAL_REQ and waits for the answer, or for ctx.
func (s *stream) dial(ctx context.Context, dst netip.AddrPort) *Error {
	s.move(statusDialing)
	// Why a Send failed is what Recv returns.
	_ = s.send(&client.Packet{
		Type: client.PacketType_DIAL_REQ,
		Payload: &client.Packet_DialRequest{
			DialRequest: &client.DialRequest{Protocol: "tcp", Address: dst.String(), Random: s.random},
		},
	})
	s.endpoint.server.dialer.background.Go(s.awaitAnswer)
	select {
	case err := <-s.answered:
		return err
	case <-ctx.Done():
		// The grace starts before the decision, which publishes it.
		s.grace = time.AfterFunc(abandonGrace, s.cancel)
		if !s.decided.CompareAndSwap(false, true) {
			s.grace.Stop()
			return <-s.answered // it came at the same moment
		}
		s.endpoint.server.dialer.background.Go(s.abandon)
		return noAnswer(ctx, s.endpoint.server.Name)
	}
}

// awaitAnswer receives the answer to DIAL_REQ. Where the dial was given up
// before, it tidies up.
func (s *stream) awaitAnswer() {
	s.receiving.Lock()
	err := s.answer()
	if err != nil {
		s.finish(err)
	}
	s.receiving.Unlock()
	if s.decided.CompareAndSwap(false, true) {
		if err == nil {
			s.carried.Store(true)
			s.move(statusOK)
		}
		s.answered <- err
		return
	}
	if err == nil {
		_ = s.Close()
	}
}

// answer returns nil where the connection stands.
func (s *stream) answer() *Error {
	pkt, err := s.rpc.Recv()
	s.metrics().received(pkt, err)
	if err != nil {
		return s.endpoint.lost(err)
	}
	name := s.endpoint.server.Name
	switch pkt.Type {
	case client.PacketType_DIAL_RSP:
		rsp := pkt.GetDialResponse()
		switch {
		case rsp.GetRandom() != s.random:
			return &Error{Reason: ReasonProtocol, Server: name, Err: fmt.Errorf("%w: DIAL_RSP for another dial", ErrProtocol)}
		case rsp.GetError() != "":
			return classify(name, rsp.GetError())
		}
		s.id = rsp.GetConnectID()
		return nil
	case client.PacketType_DIAL_CLS:
		return &Error{Reason: ReasonNoAgent, Server: name, Err: errDialClosed, elsewhere: true}
	default:
		return &Error{Reason: ReasonProtocol, Server: name, Err: fmt.Errorf("%w: %s before DIAL_RSP", ErrProtocol, pkt.Type)}
	}
}

// abandon tells the server that nobody waits for the answer any more.
func (s *stream) abandon() {
	_ = s.send(&client.Packet{
		Type:    client.PacketType_DIAL_CLS,
		Payload: &client.Packet_CloseDial{CloseDial: &client.CloseDial{Random: s.random}},
	})
}

// Send implements Conn.
func (s *stream) Send(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxData)
		err := s.send(&client.Packet{
			Type:    client.PacketType_DATA,
			Payload: &client.Packet_Data{Data: &client.Data{ConnectID: s.id, Data: p[:n]}},
		})
		if err == ErrClosed {
			return err
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
		p = p[n:]
	}
	return nil
}

// send sends one packet. gRPC has marshalled it when it returns, so what it
// holds may be used again.
func (s *stream) send(pkt *client.Packet) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	if pkt.Type == client.PacketType_DATA && s.closing.Load() {
		// Behind CLOSE_REQ there is no connection any more that it could be for.
		return ErrClosed
	}
	err := s.rpc.Send(pkt)
	s.metrics().sent(pkt.Type, err)
	return err
}

// Receive implements Conn.
func (s *stream) Receive() ([]byte, error) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	for {
		data, err := s.next()
		if err != nil {
			return nil, err
		}
		// What arrives after Close is read, for the server's sake, and dropped.
		if len(data) > 0 && !s.closing.Load() {
			return data, nil
		}
	}
}

// next reads one packet and returns its data, or why there will be no more.
func (s *stream) next() ([]byte, error) {
	if s.finished.Load() {
		return nil, s.verdict
	}
	pkt, err := s.rpc.Recv()
	s.metrics().received(pkt, err)
	if err == nil {
		if data, ok := s.data(pkt); ok {
			return data, nil
		}
	}
	s.finish(s.judge(pkt, err))
	return nil, s.verdict
}

// data returns the data of a DATA packet of this connection.
func (s *stream) data(pkt *client.Packet) ([]byte, bool) {
	d := pkt.GetData()
	if pkt.Type != client.PacketType_DATA || d.GetConnectID() != s.id || d.GetError() != "" {
		return nil, false
	}
	return d.GetData(), true
}

// judge says what it means that pkt, or err, was received instead of data.
func (s *stream) judge(pkt *client.Packet, err error) error {
	switch {
	case s.closing.Load():
		return ErrClosed
	case err != nil:
		return fmt.Errorf("%w: %.200s", ErrBroken, status.Convert(err).Message())
	case pkt.Type == client.PacketType_CLOSE_RSP && pkt.GetCloseResponse().GetConnectID() != s.id:
		return fmt.Errorf("%w: CLOSE_RSP for connection %d on that of %d", ErrProtocol, pkt.GetCloseResponse().GetConnectID(), s.id)
	case pkt.Type == client.PacketType_CLOSE_RSP && pkt.GetCloseResponse().GetError() != "":
		// Not the target's doing: server or agent lost track of the connection.
		return fmt.Errorf("%w: %.200s", ErrBroken, pkt.GetCloseResponse().GetError())
	case pkt.Type == client.PacketType_CLOSE_RSP:
		return io.EOF
	case pkt.Type == client.PacketType_DATA && pkt.GetData().GetError() != "":
		return fmt.Errorf("%w: %.200s", ErrBroken, pkt.GetData().GetError())
	default:
		return fmt.Errorf("%w: %s on an open connection", ErrProtocol, pkt.Type)
	}
}

// Close implements Conn.
func (s *stream) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	s.endpoint.server.dialer.background.Go(s.hangUp)
	return nil
}

// hangUp says CLOSE_REQ and reads until CLOSE_RSP, within closeGrace.
func (s *stream) hangUp() {
	grace := time.AfterFunc(closeGrace, s.cancel)
	defer grace.Stop()
	if s.grace != nil {
		s.grace.Stop()
	}
	if !s.finished.Load() {
		s.move(statusClosing)
		_ = s.send(&client.Packet{
			Type:    client.PacketType_CLOSE_REQ,
			Payload: &client.Packet_CloseRequest{CloseRequest: &client.CloseRequest{ConnectID: s.id}},
		})
	}
	s.receiving.Lock()
	defer s.receiving.Unlock()
	for !s.finished.Load() {
		_, _ = s.next()
	}
}

// finish ends the stream; the caller holds receiving.
func (s *stream) finish(verdict error) {
	s.verdict = verdict
	if s.finished.Swap(true) {
		return
	}
	s.cancel()
	s.move(statusGone)
	if s.carried.Load() {
		s.endpoint.load.Add(-1)
	}
	s.endpoint.release(s.link)
}

// move counts the connection under its next status.
func (s *stream) move(to string) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	if s.status == statusGone && to != statusCreated {
		return
	}
	s.metrics().moved(s.status, to)
	s.status = to
}
