// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode/packettest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// step is one action of the server, the app or the clock.
type step byte

const (
	// The server's packets.
	srvDialOK      step = iota
	srvDialRefused      // with the target's refusal
	srvDialOther        // for another dial
	srvDialBare         // without a payload
	srvData
	srvDataLarge
	srvDataEmpty
	srvDataOther // for another connection
	srvDataError
	srvDataBare
	srvDataMixed // with the payload of CLOSE_RSP
	srvClose
	srvCloseOther
	srvCloseError
	srvCloseBare
	srvDialCls
	srvCloseReq
	srvDialReq
	srvDrain
	srvUnknown
	srvEnd   // the stream ends with status OK
	srvBreak // the stream breaks
	srvStall // the server does not read any more
	srvFlow  // the server reads again

	appSend
	appSendLarge
	appReceive
	appRead // Receive until the end
	appClose
	appGiveUp // gives up the dial

	// No sum of these equals a deadline, at which either could come first.
	waitShort // 410 ms
	waitLong  // 1.27 s
	steps
)

// String returns the name of the step.
func (s step) String() string {
	return strings.Fields(`srvDialOK srvDialRefused srvDialOther srvDialBare srvData srvDataLarge srvDataEmpty srvDataOther srvDataError
		srvDataBare srvDataMixed srvClose srvCloseOther srvCloseError srvCloseBare srvDialCls srvCloseReq srvDialReq srvDrain srvUnknown
		srvEnd srvBreak srvStall srvFlow appSend appSendLarge appReceive appRead appClose appGiveUp waitShort waitLong`)[s]
}

const (
	smallData = 5
	largeData = tunnel.SendUnit + 5
	short     = 410*time.Millisecond + 7
	long      = 1270*time.Millisecond + 11
)

// packet returns the packet that the server sends in a step.
func (s step) packet(random int64, said int) *client.Packet {
	typed := func(t client.PacketType) *client.Packet { return &client.Packet{Type: t} }
	switch s {
	case srvDialOK:
		return packettest.DialRsp(random, connID, "")
	case srvDialRefused:
		return packettest.DialRsp(random, 0, "dial tcp 100.64.3.7:9100: connect: connection refused")
	case srvDialOther:
		return packettest.DialRsp(random+1, connID, "")
	case srvDialBare:
		return typed(client.PacketType_DIAL_RSP)
	case srvData:
		return packettest.Data(connID, text(said, smallData))
	case srvDataLarge:
		return packettest.Data(connID, text(said, largeData))
	case srvDataEmpty:
		return packettest.Data(connID, "")
	case srvDataOther:
		return packettest.Data(connID+1, "not yours")
	case srvDataError:
		pkt := packettest.Data(connID, "")
		pkt.GetData().Error = "lost"
		return pkt
	case srvDataBare:
		return typed(client.PacketType_DATA)
	case srvDataMixed:
		return &client.Packet{Type: client.PacketType_DATA, Payload: packettest.CloseRsp(connID, "").Payload}
	case srvClose:
		return packettest.CloseRsp(connID, "")
	case srvCloseOther:
		return packettest.CloseRsp(connID+1, "")
	case srvCloseError:
		return packettest.CloseRsp(connID, "unrecognized connectID")
	case srvCloseBare:
		return typed(client.PacketType_CLOSE_RSP)
	case srvDialCls:
		return typed(client.PacketType_DIAL_CLS)
	case srvCloseReq:
		return typed(client.PacketType_CLOSE_REQ)
	case srvDialReq:
		return typed(client.PacketType_DIAL_REQ)
	case srvDrain:
		return typed(client.PacketType_DRAIN)
	default:
		return typed(99)
	}
}

// bytes returns how many bytes of the target a step has.
func (s step) bytes() int {
	switch s {
	case srvData:
		return smallData
	case srvDataLarge:
		return largeData
	default:
		return 0
	}
}

// do plays one step to the real stream.
func (w *world) do(s step) {
	switch s {
	case srvEnd:
		w.arrive(nil, io.EOF)
	case srvBreak:
		w.arrive(nil, errGoingAway)
	case srvStall, srvFlow:
		w.stall(s == srvStall)
	case appSend:
		w.send(smallData)
	case appSendLarge:
		w.send(largeData)
	case appReceive, appRead:
		w.receive(s == appRead)
	case appClose:
		if w.dialed.Load() {
			_ = w.stream.Close()
		}
	case appGiveUp:
		w.giveUp()
	case waitShort:
		time.Sleep(short)
	case waitLong:
		time.Sleep(long)
	default:
		w.arrive(s.packet(w.rpc.random, w.said), nil)
		if !w.finished {
			w.said += s.bytes()
		}
	}
}

// TestStreamModel plays every script up to a length to a stream. It compares what app
// and server see, and when, with the model of the protocol.
func TestStreamModel(t *testing.T) {
	var played int
	var play func(script []step, left int)
	play = func(script []step, left int) {
		m := newModel()
		for _, s := range script {
			m.do(s)
		}
		next := m.interesting(left == 1)
		if left == 0 || len(next) == 0 {
			played++
			compare(t, script)
			return
		}
		for _, s := range next {
			play(append(slices.Clip(script), s), left-1)
			if t.Failed() {
				return
			}
		}
	}
	depth := 3
	if testing.Short() {
		depth = 2
	}
	play(nil, depth)                        // dials
	play([]step{srvDialOK, appRead}, depth) // an app that reads
	play([]step{srvDialOK}, depth-1)        // an app that does nothing
	play([]step{appGiveUp}, depth-1)        // an app that has gone
	play([]step{srvDialOK, appClose}, depth-1)
	play([]step{srvDialOK, srvStall, appSendLarge}, depth-1)
	t.Logf("%d scripts", played)
}

// compare plays a script to a stream and to the model.
func compare(t *testing.T, script []step) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(t), newModel()
		for _, s := range script {
			w.do(s)
			synctest.Wait()
			m.do(s)
		}
		w.end()
		m.end()
		w.mu.Lock()
		defer w.mu.Unlock()
		if fmt.Sprint(w.lines) != fmt.Sprint(m.lines) || w.got.Len() != m.taken {
			t.Errorf("a stream is not what the protocol makes it, in the script %v\ngot %d bytes\n%swant %d bytes\n%s", script, w.got.Len(), w.journal, m.taken, &m.journal)
		}
		if t.Failed() {
			t.Logf("in the script %v", script)
		}
	})
}
