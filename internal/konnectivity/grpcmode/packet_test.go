// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"bytes"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode/packettest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestDataHead: a DATA packet has the bytes that generated code would write.
func TestDataHead(t *testing.T) {
	for _, id := range []int64{0, 1, 127, 128, 1 << 20, math.MaxInt64, -1, math.MinInt64} {
		for _, n := range []int{1, 2, 127, 128, 4096, 16383, 16384, tunnel.SendUnit} {
			data := bytes.Repeat([]byte("x"), n)
			head := appendDataHead(nil, id, n)
			if len(head) > maxDataHead {
				t.Errorf("connection %d, %d bytes: a head of %d bytes, want %d at most", id, n, len(head), maxDataHead)
			}
			if got, want := append(head, data...), marshal(t, packettest.Data(id, string(data))); !bytes.Equal(got, want) {
				t.Errorf("connection %d, %d bytes: wrote %.40x…, want %.40x…", id, n, got, want)
			}
		}
	}
}

func marshal(t testing.TB, pkt *client.Packet) []byte {
	t.Helper()
	p, err := proto.Marshal(pkt)
	must(t, err)
	return p
}

// TestParseData: a packet that differs from what generated code writes for data is left
// to generated code.
func TestParseData(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    string
		ok   bool
		id   int64
		data string
	}{
		{"nothing", "", false, 0, ""},
		{"another packet", string(marshal(t, packettest.CloseRsp(connID, ""))), false, 0, ""},
		{"no body", "\x08\x04", false, 0, ""},
		{"no length", "\x08\x04\x22", false, 0, ""},
		{"a length of too much", "\x08\x04\x22\x05\x08\x07\x1a\x01", false, 0, ""},
		{"a length of too little", "\x08\x04\x22\x04\x08\x07\x1a\x01xx", false, 0, ""},
		{"content of too much", "\x08\x04\x22\x05\x08\x07\x1a\x02x", false, 0, ""},
		{"content of too little", "\x08\x04\x22\x06\x08\x07\x1a\x01xx", false, 0, ""},
		{"a number without an end", "\x08\x04\x22\x02\x08\xff", false, 0, ""},
		{"a number of eleven bytes", "\x08\x04\x22\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", false, 0, ""},
		{"an error", "\x08\x04\x22\x05\x08\x07\x12\x01x", false, 0, ""},
		{"something behind it", "\x08\x04\x22\x05\x08\x07\x1a\x01x\x08\x04", false, 0, ""},
		{"fields in another order", "\x08\x04\x22\x05\x1a\x01x\x08\x07", false, 0, ""},
		{"the type behind", "\x22\x05\x08\x07\x1a\x01x\x08\x04", false, 0, ""},
		{"nothing in it", "\x08\x04\x22\x00", true, 0, ""},
		{"no content", "\x08\x04\x22\x02\x08\x07", true, 7, ""},
		{"no connection", "\x08\x04\x22\x03\x1a\x01x", true, 0, "x"},
		{"data", "\x08\x04\x22\x05\x08\x07\x1a\x01x", true, 7, "x"},
		{"a longer number than need be", "\x08\x04\x22\x06\x08\x87\x00\x1a\x01x", true, 7, "x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id, data, ok := parseData([]byte(tc.p))
			if id != tc.id || string(data) != tc.data || ok != tc.ok {
				t.Errorf("got %d, %q, %v; want %d, %q, %v", id, data, ok, tc.id, tc.data, tc.ok)
			}
		})
	}
}

// FuzzParseData: if parseData takes a packet, generated code reads the same from it.
func FuzzParseData(f *testing.F) {
	for _, pkt := range []*client.Packet{
		packettest.Data(connID, "hello"), packettest.Data(-1, ""), packettest.Data(0, "x"), packettest.Data(math.MaxInt64, string(make([]byte, 300))),
		packettest.CloseRsp(connID, "x"), packettest.DialRsp(1, 2, ""),
		{Type: client.PacketType_DATA},
	} {
		f.Add(marshal(f, pkt))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		id, data, ok := parseData(p)
		if !ok {
			return
		}
		pkt, err := parse(p)
		if err != nil {
			t.Fatalf("generated code does not read it: %v", err)
		}
		d := pkt.GetData()
		if pkt.Type != client.PacketType_DATA || d == nil || d.ConnectID != id || d.Error != "" || !bytes.Equal(d.Data, data) {
			t.Errorf("read connection %d and %x, generated code %v", id, data, pkt)
		}
		if len(pkt.ProtoReflect().GetUnknown())+len(d.ProtoReflect().GetUnknown()) > 0 {
			t.Errorf("there are unknown fields in %v", pkt)
		}
	})
}

// FuzzDataHead: the bytes that are written for data are those of generated code.
func FuzzDataHead(f *testing.F) {
	f.Add(int64(connID), []byte("hello"))
	f.Add(int64(-1), make([]byte, 300))
	f.Fuzz(func(t *testing.T, id int64, data []byte) {
		if len(data) == 0 || len(data) > tunnel.SendUnit {
			return
		}
		if got, want := append(appendDataHead(nil, id, len(data)), data...), marshal(t, packettest.Data(id, string(data))); !bytes.Equal(got, want) {
			t.Errorf("wrote %x, want %x", got, want)
		}
		if gotID, gotData, ok := parseData(marshal(t, packettest.Data(id, string(data)))); !ok || gotID != id || !bytes.Equal(gotData, data) {
			t.Errorf("connection %d and %x became %d and %x, %v", id, data, gotID, gotData, ok)
		}
	})
}
