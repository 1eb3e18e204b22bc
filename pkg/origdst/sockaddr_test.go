// SPDX-License-Identifier: Apache-2.0

//go:build linux

package origdst

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sockaddr returns what the kernel would write, with the family in the host's byte order.
func sockaddr(family uint16, rest ...byte) []byte {
	return append(binary.NativeEndian.AppendUint16(nil, family), rest...)
}

func TestDecodeSockaddr(t *testing.T) {
	v4 := sockaddr(unix.AF_INET, 0x23, 0x8c, 100, 64, 3, 7, 0, 0, 0, 0, 0, 0, 0, 0)
	v6 := sockaddr(unix.AF_INET6, 0x01, 0xbb, 9, 9, 9, 9,
		0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 2, 0, 0, 0)
	mapped := sockaddr(unix.AF_INET6, 0, 80, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3, 0, 0, 0, 0)
	tests := []struct {
		name    string
		in      []byte
		want    string
		wantErr string
	}{
		{name: "nothing", in: nil, wantErr: "0 bytes is too short to have a family"},
		{name: "half a family", in: v4[:1], wantErr: "1 bytes is too short"},
		{name: "family only", in: v4[:2], wantErr: "IPv4 socket address of 2 bytes is too short, want 16"},
		{name: "IPv4 one byte short", in: v4[:15], wantErr: "IPv4 socket address of 15 bytes"},
		{name: "IPv6 as short as IPv4", in: v6[:16], wantErr: "IPv6 socket address of 16 bytes is too short, want 28"},
		{name: "IPv6 one byte short", in: v6[:27], wantErr: "IPv6 socket address of 27 bytes"},
		{name: "no family", in: make([]byte, 28), wantErr: "family 0"},
		{name: "Unix socket", in: sockaddr(unix.AF_UNIX, make([]byte, 26)...), wantErr: "family 1, neither"},
		{name: "IPv4", in: v4, want: "100.64.3.7:9100"},
		{name: "IPv4 in a larger buffer", in: append(v4[:16:16], make([]byte, 12)...), want: "100.64.3.7:9100"},
		{name: "IPv6", in: v6, want: "[fd00::10]:443"},
		{name: "IPv4-mapped", in: mapped, want: "10.1.2.3:80"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeSockaddr(tt.in)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("a malformed socket address was not refused: got %v, error %v, want an error with %q", got, err, tt.wantErr)
				}
				return
			}
			if err != nil || got != netip.MustParseAddrPort(tt.want) {
				t.Fatalf("got %v, %v, want %s", got, err, tt.want)
			}
		})
	}
}

func FuzzDecodeSockaddr(f *testing.F) {
	f.Add([]byte{})
	f.Add(sockaddr(unix.AF_INET, 0x23, 0x8c, 100, 64, 3, 7, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(sockaddr(unix.AF_INET6, make([]byte, 26)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeSockaddr(b)
		if err != nil {
			if got.IsValid() {
				t.Fatalf("an error came with an address: %v, %v", got, err)
			}
			return
		}
		if !got.IsValid() || got.Addr().Is4In6() || got.Addr().Zone() != "" {
			t.Fatalf("not a plain address: %v", got)
		}
		if got.Port() != uint16(b[2])<<8|uint16(b[3]) {
			t.Fatalf("port %d is not the big-endian one of % x", got.Port(), b[:4])
		}
		as := got.Addr().AsSlice()
		switch family := binary.NativeEndian.Uint16(b); {
		case family == unix.AF_INET && len(b) >= 16 && string(as) == string(b[4:8]):
		case family == unix.AF_INET6 && len(b) >= 28 && strings.HasSuffix(string(b[8:24]), string(as)):
		default:
			t.Fatalf("address %v does not follow from % x", got, b)
		}
	})
}
