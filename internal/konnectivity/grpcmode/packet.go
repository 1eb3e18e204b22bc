// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"encoding/binary"
	"math/bits"

	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

// Nearly all bytes come in DATA packets. They are read and written here, without the
// copies and the memory of generated code. Generated code does so for all other
// packets, and for DATA packets of a form that it does not write itself.

// Tags of the fields of a DATA packet (client.proto of konnectivity-client). A tag is
// the number of the field, and in three bits how its value is written. 0 is a varint, 2
// is bytes with their length (protobuf.dev/programming-guides/encoding).
const (
	tagType        = 1 << 3   // Packet.type
	tagData        = 4<<3 | 2 // Packet.data
	tagConnectID   = 1 << 3   // Data.connectID
	tagDataContent = 3<<3 | 2 // Data.data
)

// maxDataHead is how many bytes appendDataHead appends at most.
const maxDataHead = 2 + 1 + 5 + 1 + binary.MaxVarintLen64 + 1 + 5

// appendDataHead appends the beginning of a DATA packet of connection id. Its n bytes,
// at least one, are to follow.
func appendDataHead(b []byte, id int64, n int) []byte {
	inner := 1 + varintLen(uint64(n)) + n
	if id != 0 {
		inner += 1 + varintLen(uint64(id))
	}
	b = append(b, tagType, byte(client.PacketType_DATA), tagData)
	b = binary.AppendUvarint(b, uint64(inner))
	if id != 0 { // proto3 leaves out what is zero
		b = append(b, tagConnectID)
		b = binary.AppendUvarint(b, uint64(id))
	}
	b = append(b, tagDataContent)
	return binary.AppendUvarint(b, uint64(n))
}

// varintLen returns how many bytes a varint has: one for each seven bits.
func varintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// parseData returns the connection and the content of a DATA packet. The content is a
// part of p. ok is false if p is anything else, broken, or not as generated code would
// write it.
func parseData(p []byte) (id int64, data []byte, ok bool) {
	if len(p) < 3 || p[0] != tagType || p[1] != byte(client.PacketType_DATA) || p[2] != tagData {
		return 0, nil, false
	}
	n, size := binary.Uvarint(p[3:])
	if size <= 0 || n != uint64(len(p)-3-size) {
		return 0, nil, false
	}
	p = p[3+size:]
	if len(p) > 0 && p[0] == tagConnectID {
		v, size := binary.Uvarint(p[1:])
		if size <= 0 {
			return 0, nil, false
		}
		id, p = int64(v), p[1+size:]
	}
	if len(p) == 0 {
		return id, nil, true
	}
	if p[0] != tagDataContent {
		return 0, nil, false
	}
	n, size = binary.Uvarint(p[1:])
	if size <= 0 || n != uint64(len(p)-1-size) {
		return 0, nil, false
	}
	return id, p[1+size:], true
}

// parse parses any packet.
func parse(p []byte) (*client.Packet, error) {
	pkt := new(client.Packet)
	if err := proto.Unmarshal(p, pkt); err != nil {
		return nil, err
	}
	return pkt, nil
}

// encode returns the bytes of a packet that is not DATA.
func encode(pkt *client.Packet) []byte {
	p, _ := proto.Marshal(pkt) // fails only for strings that are not UTF-8, which we do not send
	return p
}
