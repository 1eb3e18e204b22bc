// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connID is the id of the connection that a scripted server opens.
const connID = 7

var target = netip.MustParseAddrPort("100.64.3.7:9100")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dialRsp(random, id int64, text string) *client.Packet {
	return &client.Packet{
		Type:    client.PacketType_DIAL_RSP,
		Payload: &client.Packet_DialResponse{DialResponse: &client.DialResponse{Random: random, ConnectID: id, Error: text}},
	}
}

func dataPkt(id int64, data string) *client.Packet {
	return &client.Packet{
		Type:    client.PacketType_DATA,
		Payload: &client.Packet_Data{Data: &client.Data{ConnectID: id, Data: []byte(data)}},
	}
}

func closeRsp(id int64, text string) *client.Packet {
	return &client.Packet{
		Type:    client.PacketType_CLOSE_RSP,
		Payload: &client.Packet_CloseResponse{CloseResponse: &client.CloseResponse{ConnectID: id, Error: text}},
	}
}
