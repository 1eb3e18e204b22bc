// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// frameHeaderBytes is the size of the header before a frame's payload.
const frameHeaderBytes = 9

// appendFrame appends the header of a frame whose payload has n bytes (RFC 9113,
// section 4.1).
func appendFrame(b []byte, n int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	b = append(b, byte(n>>16), byte(n>>8), byte(n), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}

// appendPreface appends the client's connection preface (RFC 9113, section 3.4).
func appendPreface(b []byte, cfg Config) []byte {
	b = append(b, http2.ClientPreface...)
	b = appendSettings(b,
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(cfg.StreamWindow)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: cfg.MaxHeaders})
	return appendWindowUpdate(b, 0, cfg.ConnectionWindow-initialWindowBytes)
}

func appendSettings(b []byte, settings ...http2.Setting) []byte {
	const size = 6 // of a setting, in bytes
	b = appendFrame(b, size*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

func appendPing(b []byte, flags http2.Flags, payload [8]byte) []byte {
	b = appendFrame(b, len(payload), http2.FramePing, flags, 0)
	return append(b, payload[:]...)
}

func appendWindowUpdate(b []byte, stream uint32, n int) []byte {
	b = appendFrame(b, 4, http2.FrameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func appendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	b = appendFrame(b, 4, http2.FrameRSTStream, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// appendGoAway appends a GOAWAY. Its last stream ID is 0, because we accept no streams.
func appendGoAway(b []byte, code http2.ErrCode) []byte {
	b = appendFrame(b, 8, http2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, 0)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}
