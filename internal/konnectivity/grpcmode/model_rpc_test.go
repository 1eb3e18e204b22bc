// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// fakeRPC is a gRPC stream like grpcwire's. It fails the test if the client breaks the
// rules of streams or of the protocol.
type fakeRPC struct {
	t       *testing.T
	log     *journal
	handler grpcwire.Handler

	arrivals  chan arrival
	cancelled chan struct{} // closed by Cancel
	broken    chan struct{} // closed when the server has ended the stream
	flow      chan struct{} // closed while the server reads

	mu       sync.Mutex
	ended    bool // Cancel was called, or the server has ended the stream after Finish
	finished bool // Finish was called
	unpaid   int  // bytes of messages for which Taken was not called yet
	sending  atomic.Bool
	random   int64
	accepted atomic.Bool // the success of the dial has arrived
	saw      map[client.PacketType]int
	wrote    strings.Builder // DATA, concatenated
}

// arrival is a message of the server, or the error with which it has ended the stream.
type arrival struct {
	pkt *client.Packet
	err error
}

// read calls the handler until the stream ends, as grpcwire.Conn.Run does.
func (f *fakeRPC) read() {
	for {
		var a arrival
		select {
		case a = <-f.arrivals:
		case <-f.cancelled:
			return
		}
		f.mu.Lock()
		finished := f.finished
		f.ended = f.ended || finished && a.err != nil
		f.mu.Unlock()
		if a.err != nil {
			f.handler.End(a.err)
			return
		}
		if finished {
			continue
		}
		if a.pkt.Type == client.PacketType_DIAL_RSP {
			f.accepted.Store(true)
		}
		p, err := proto.Marshal(a.pkt)
		must(f.t, err)
		f.mu.Lock()
		f.unpaid += grpcwire.Cost(len(p))
		f.mu.Unlock()
		f.handler.Message(p)
		clear(p) // it is valid only during the call
		f.handler.Arrived()
	}
}

// Await implements rpc.
func (f *fakeRPC) Await() {}

// Taken implements rpc.
func (f *fakeRPC) Taken(n int, _ bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unpaid -= n; f.unpaid < 0 {
		f.t.Errorf("%d bytes given back that were never received", -f.unpaid)
	}
}

// Finish implements rpc.
func (f *fakeRPC) Finish() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || f.finished {
		f.t.Error("Finish behind the end")
	}
	if f.sending.Load() {
		return false // as if a part of it had reached the server
	}
	f.finished = true
	f.log.add(logCancel, "in order")
	return true
}

// Cancel implements rpc.
func (f *fakeRPC) Cancel() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	f.ended = true
	f.log.add(logCancel, "ended")
	close(f.cancelled)
}

// TrySend implements rpc.
func (f *fakeRPC) TrySend(p []byte) (bool, error) {
	if f.sending.Load() {
		f.t.Error("TrySend beside a Send")
	}
	select {
	case <-f.cancelled:
	case <-f.broken:
	case <-f.flow:
	default:
		return false, nil
	}
	return true, f.Send(p, nil, false)
}

// Send implements rpc.
func (f *fakeRPC) Send(head, body []byte, _ bool) error {
	if f.sending.Swap(true) {
		f.t.Error("two goroutines in Send")
	}
	defer f.sending.Store(false)
	f.mu.Lock()
	finished := f.finished
	f.mu.Unlock()
	if finished {
		return io.EOF
	}
	for _, end := range []<-chan struct{}{f.cancelled, f.broken} {
		select {
		case <-end:
			return io.EOF
		default:
		}
	}
	p := append(slices.Clip(head), body...)
	select {
	case <-f.flow:
	case <-f.cancelled:
		return io.EOF
	case <-f.broken:
		return io.EOF
	}
	pkt := new(client.Packet)
	must(f.t, proto.Unmarshal(p, pkt))
	f.check(pkt)
	return nil
}

// check checks a packet of the client by the rules of the protocol.
func (f *fakeRPC) check(pkt *client.Packet) {
	said := pkt.Type.String()
	bad := func(why string) { f.t.Errorf("the client said %v: %s", pkt, why) }
	if (pkt.Type == client.PacketType_DIAL_REQ) != (len(f.saw) == 0) {
		bad("DIAL_REQ comes first, and once")
	}
	f.saw[pkt.Type]++
	switch pkt.Type {
	case client.PacketType_DIAL_REQ:
		req := pkt.GetDialRequest()
		f.random = req.Random
		if req.Protocol != "tcp" || req.Address != target.String() {
			bad("not what was dialled")
		}
		return
	case client.PacketType_DATA:
		data := pkt.GetData()
		said = fmt.Sprintf("%s %d", said, len(data.Data))
		f.wrote.Write(data.Data)
		if len(data.Data) == 0 || len(data.Data) > tunnel.SendUnit || data.ConnectID != connID || !f.accepted.Load() {
			bad("not this connection's, empty or too large")
		}
		if f.saw[client.PacketType_CLOSE_REQ] > 0 {
			bad("behind CLOSE_REQ")
		}
	case client.PacketType_CLOSE_REQ:
		if pkt.GetCloseRequest().ConnectID != connID || f.saw[pkt.Type] > 1 || !f.accepted.Load() {
			bad("not this connection's, or said before")
		}
	case client.PacketType_DIAL_CLS:
		if pkt.GetCloseDial().Random != f.random || f.saw[pkt.Type] > 1 {
			bad("not this dial's, or said before")
		}
	default:
		bad("a client never says that")
	}
	f.log.add(logWire, "%s", said)
}
