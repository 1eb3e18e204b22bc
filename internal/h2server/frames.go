// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// headerLength is the length of a frame's header (RFC 9113 4.1).
const headerLength = 9

// appendHeader appends a frame's header to p.
func appendHeader(p []byte, length int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	p = append(p, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(p, stream)
}

func appendReset(p []byte, stream uint32, code http2.ErrCode) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(p, 4, http2.FrameRSTStream, 0, stream), uint32(code))
}

func appendWindowUpdate(p []byte, stream uint32, by int) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(p, 4, http2.FrameWindowUpdate, 0, stream), uint32(by))
}

func appendPing(p []byte, flags http2.Flags, data [8]byte) []byte {
	return append(appendHeader(p, len(data), http2.FramePing, flags, 0), data[:]...)
}

// appendGoAway appends a GOAWAY. text is for people who look for the cause.
func appendGoAway(p []byte, last uint32, code http2.ErrCode, text string) []byte {
	p = binary.BigEndian.AppendUint32(appendHeader(p, 8+len(text), http2.FrameGoAway, 0, 0), last)
	return append(binary.BigEndian.AppendUint32(p, uint32(code)), text...)
}

func appendSettings(p []byte, settings ...http2.Setting) []byte {
	p = appendHeader(p, 6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		p = binary.BigEndian.AppendUint16(p, uint16(s.ID))
		p = binary.BigEndian.AppendUint32(p, s.Val)
	}
	return p
}

func appendSettingsAck(p []byte) []byte {
	return appendHeader(p, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
}

// status200 is the header :status 200, which HPACK's static table has (RFC 7541 A).
const status200 = 0x88

// appendAccept appends the answer 200 without an end of the stream.
func appendAccept(p []byte, stream uint32) []byte {
	return append(appendHeader(p, 1, http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream), status200)
}

// appendRefusal appends an answer that ends the stream. The table of HPACK is not used.
func appendRefusal(p []byte, stream uint32, status int, fields []hpack.HeaderField) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSizeLimit(0)
	_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: strconv.Itoa(status)}) // a bytes.Buffer never fails
	for _, f := range fields {
		_ = encoder.WriteField(f)
	}
	p = appendHeader(p, block.Len(), http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, stream)
	return append(p, block.Bytes()...)
}

// newDecoder returns a decoder of requests' headers, with the table that HTTP/2 has by
// default.
func newDecoder() *hpack.Decoder {
	const table = 4096
	return hpack.NewDecoder(table, nil)
}
