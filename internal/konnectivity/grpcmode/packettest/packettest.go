// SPDX-License-Identifier: Apache-2.0

// Package packettest makes the packets that a scripted proxy-server sends to a client.
//
//	err := stream.Send(packettest.DialRsp(request.GetDialRequest().GetRandom(), 7, ""))
//
// It sends nothing by itself. Nothing but tests imports it.
package packettest

import "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

// DialRsp returns the answer to the dial that random identifies. The dial has succeeded
// as connection id if text is empty, and otherwise failed with text.
func DialRsp(random, id int64, text string) *client.Packet {
	return &client.Packet{
		Type:    client.PacketType_DIAL_RSP,
		Payload: &client.Packet_DialResponse{DialResponse: &client.DialResponse{Random: random, ConnectID: id, Error: text}},
	}
}

// Data returns a packet with bytes of connection id.
func Data(id int64, data string) *client.Packet {
	return &client.Packet{
		Type:    client.PacketType_DATA,
		Payload: &client.Packet_Data{Data: &client.Data{ConnectID: id, Data: []byte(data)}},
	}
}

// CloseRsp returns the end of connection id. text is an error, or empty.
func CloseRsp(id int64, text string) *client.Packet {
	return &client.Packet{
		Type:    client.PacketType_CLOSE_RSP,
		Payload: &client.Packet_CloseResponse{CloseResponse: &client.CloseResponse{ConnectID: id, Error: text}},
	}
}
