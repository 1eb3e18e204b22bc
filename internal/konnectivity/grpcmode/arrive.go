// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/inbox"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Message implements grpcwire.Handler. It never waits, because every stream of the link
// would wait with it.
func (s *stream) Message(p []byte) {
	cost := grpcwire.Cost(len(p))
	if id, data, ok := parseData(p); ok {
		s.metrics().dataReceived.Inc()
		s.mu.Lock()
		defer s.mu.Unlock()
		if id == s.id && s.handleData(data, cost) {
			return
		}
		s.handlePacket(&client.Packet{Type: client.PacketType_DATA, Payload: &client.Packet_Data{Data: &client.Data{ConnectID: id, Data: data}}}, cost)
		return
	}
	pkt, err := parse(p)
	if err != nil {
		s.End(status.Errorf(codes.Internal, "failed to unmarshal the received message: %v", err))
		return
	}
	s.metrics().received(pkt, nil)
	s.mu.Lock()
	late := s.handlePacket(pkt, cost)
	s.mu.Unlock()
	if late {
		_ = s.Close()
	}
}

// handleData deals with data for this connection. It returns false if the stream has no
// connection. The caller holds mu.
func (s *stream) handleData(data []byte, cost int) bool {
	switch {
	case s.phase == open && len(data) > 0:
		s.inbox.Put(&s.shared().segments, data, cost)
		if s.receiving && s.inbox.Bytes() >= inbox.Large {
			s.changed.Broadcast() // there is enough for one Receive
		}
	case s.phase == open:
		s.rpc.Taken(cost, s.receiving)
	case s.phase == closing: // dropped, but read, so that the server can go on
		s.rpc.Taken(cost, true)
	default:
		return false
	}
	return true
}

// Arrived implements grpcwire.Handler.
func (s *stream) Arrived() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.receiving && !s.inbox.Empty() {
		s.changed.Broadcast()
	}
}

// End implements grpcwire.Handler.
func (s *stream) End(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		s.giveBack()
	}
	if s.phase == finished {
		return
	}
	s.metrics().received(nil, err)
	switch s.phase {
	case dialing, abandoned:
		s.refused = errors.Is(err, grpcwire.ErrUnprocessed)
		s.dialEnded(s.dialer.brokenStream(err), false)
	default:
		s.reset(s.judge(nil, err))
	}
}

// handlePacket deals with a packet that is not DATA of an open connection. late reports
// that it has opened a connection whose dial was given up. The caller holds mu.
func (s *stream) handlePacket(pkt *client.Packet, cost int) (late bool) {
	switch s.phase {
	case dialing:
		err := s.answer(pkt)
		s.dialEnded(err, inOrder(err))
		if s.phase == open {
			s.rpc.Taken(cost, false)
		}
	case abandoned:
		err := s.answer(pkt)
		s.dialEnded(err, inOrder(err))
		return err == nil
	case open, closing:
		if data, ok := s.data(pkt); ok && s.handleData(data, cost) {
			return false
		}
		verdict := s.judge(pkt, nil)
		s.end(verdict, pkt.Type == client.PacketType_CLOSE_RSP && pkt.GetCloseResponse().GetConnectID() == s.id)
	}
	return false
}

// inOrder reports whether both sides know that the stream is over, after a dial that
// was answered with err.
func inOrder(err *tunnel.Error) bool { return err != nil && err.Reason != tunnel.ReasonProtocol }

// dialEnded records the end of the dial, and passes it to the goroutine that waits for
// it. inOrder says how the stream ends if the dial has failed. The caller holds mu.
func (s *stream) dialEnded(err *tunnel.Error, inOrder bool) {
	switch {
	case err != nil:
		s.end(err, inOrder)
	case s.phase == dialing:
		s.phase, s.counted = open, true
		s.setStatus(statusOK)
	}
	if s.answered != nil {
		s.answered <- err
		s.answered = nil
	}
}

// answer returns nil if pkt says that the dial has succeeded. The caller holds mu.
func (s *stream) answer(pkt *client.Packet) *tunnel.Error {
	name := s.dialer.Server.Name
	switch pkt.Type {
	case client.PacketType_DIAL_RSP:
		rsp := pkt.GetDialResponse()
		switch {
		case rsp.GetRandom() != s.random:
			return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: name, Err: fmt.Errorf("%w: DIAL_RSP for another dial", tunnel.ErrProtocol)}
		case rsp.GetError() != "":
			return konnectivity.Classify(name, rsp.GetError())
		}
		s.id = rsp.GetConnectID()
		return nil
	case client.PacketType_DIAL_CLS:
		return &tunnel.Error{Reason: tunnel.ReasonNoAgent, Server: name, Err: errDialClosed, Fault: tunnel.FaultServer}
	default:
		return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: name, Err: fmt.Errorf("%w: %s before DIAL_RSP", tunnel.ErrProtocol, pkt.Type)}
	}
}

// data returns the content of a DATA packet of this connection.
func (s *stream) data(pkt *client.Packet) ([]byte, bool) {
	d := pkt.GetData()
	if pkt.Type != client.PacketType_DATA || d.GetConnectID() != s.id || d.GetError() != "" {
		return nil, false
	}
	return d.GetData(), true
}

// judge returns the error that ends the connection, because pkt or err came in place of
// data.
func (s *stream) judge(pkt *client.Packet, err error) error {
	switch {
	case s.closed:
		return tunnel.ErrClosed
	case err != nil:
		return fmt.Errorf("%w: %.200s", tunnel.ErrBroken, status.Convert(err).Message())
	case pkt.Type == client.PacketType_CLOSE_RSP && pkt.GetCloseResponse().GetConnectID() != s.id:
		return fmt.Errorf("%w: CLOSE_RSP for connection %d on that of %d", tunnel.ErrProtocol, pkt.GetCloseResponse().GetConnectID(), s.id)
	case pkt.Type == client.PacketType_CLOSE_RSP && pkt.GetCloseResponse().GetError() != "":
		// The target has not ended it: server or agent lost track of the connection.
		return fmt.Errorf("%w: %.200s", tunnel.ErrBroken, pkt.GetCloseResponse().GetError())
	case pkt.Type == client.PacketType_CLOSE_RSP:
		return io.EOF
	case pkt.Type == client.PacketType_DATA && pkt.GetData().GetError() != "":
		return fmt.Errorf("%w: %.200s", tunnel.ErrBroken, pkt.GetData().GetError())
	default:
		return fmt.Errorf("%w: %s on an open connection", tunnel.ErrProtocol, pkt.Type)
	}
}
