// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"bytes"
	"testing"
)

// FuzzAheadFilter: however a stream with a late line is cut into reads, the line is
// removed and nothing else.
func FuzzAheadFilter(f *testing.F) {
	f.Add([]byte("abc"), []byte("def"), uint8(1))
	f.Add([]byte("HTTP/1.1 200 Connection"), []byte("HTTP/1.1 "), uint8(7))
	f.Add([]byte("H"), []byte(""), uint8(3))
	f.Fuzz(func(t *testing.T, ahead, behind []byte, cut uint8) {
		if bytes.Contains(append(ahead, establishedLine[:len(establishedLine)-1]...), []byte(establishedLine)) {
			t.Skip("the target's own bytes complete the line")
		}
		stream := append(append(bytes.Clone(ahead), establishedLine...), behind...)
		var filter aheadFilter
		var got []byte
		for step := int(cut%40) + 1; len(stream) > 0; {
			n := min(step, len(stream))
			got = append(got, filter.pass(bytes.Clone(stream[:n]))...)
			stream = stream[n:]
		}
		if !filter.found {
			t.Fatal("the line was not found")
		}
		got = append(got, filter.flush()...)
		if want := append(bytes.Clone(ahead), behind...); !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// FuzzJudgeHead: further bytes never change a decision, and nothing panics.
func FuzzJudgeHead(f *testing.F) {
	f.Add([]byte(establishedLine + "x"))
	f.Add([]byte("SSH-2.0"))
	f.Add([]byte("HTTP/1.1 502 Bad Gateway\r\n\r\nx"))
	f.Fuzz(func(t *testing.T, head []byte) {
		decided := headIncomplete
		for n := range len(head) + 1 {
			v, status, rest := parseHead(head[:n], false)
			if decided != headIncomplete && v != decided {
				t.Fatalf("%q: verdict %d became %d", head[:n], decided, v)
			}
			if v == headRefused && (status < 200 || status == 200) || len(rest) > n {
				t.Fatalf("%q: status %d, %d bytes behind it", head[:n], status, len(rest))
			}
			decided = v
		}
		if v, _, _ := parseHead(head, true); len(head) > 0 && v == headIncomplete {
			t.Fatalf("%q: no verdict at the end", head)
		}
	})
}
