// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/relay"
)

// talk is a script of two ends that takes one step after the other, so that what both see
// is determined.
type talk struct {
	*sight
	ends     [2]*net.TCPConn // the app's and the target's
	finished [2]bool         // it has sent FIN
	over     bool
}

// step takes a step: an end sends, sends much, finishes, or resets. A step that is not
// possible any more is left out.
func (s *talk) step(b byte) {
	who := int(b & 1)
	names := [2]string{"app", "target"}
	from, to := s.ends[who], s.ends[1-who]
	sends := !s.over && !s.finished[who]
	switch action := b >> 1 & 7; {
	case action < 4 && sends:
		s.send(from, to, string(pattern(int(action)*int(b)+1)))
	case action == 4 && sends:
		done := writes(from, 300<<10+int(b), nil)
		s.sendsMuch(to, 300<<10+int(b))
		s.note("%s's write is %s", names[who], outcome(<-done))
	case action == 5 && sends:
		must(s.t, from.CloseWrite())
		s.finished[who] = true
		s.rest(names[1-who], to)
		s.over = s.finished[1-who]
	case action == 6 && !s.over:
		must(s.t, relay.Reset(from))
		s.over = true
		s.fails(names[1-who], to)
	}
}

// end lets both ends finish.
func (s *talk) end() {
	s.step(10)
	s.step(11)
}

// FuzzLikeADirectConnection: whatever app and target do, one step after the other, they see
// what they would see on a direct connection.
func FuzzLikeADirectConnection(f *testing.F) {
	f.Add([]byte{0, 1, 8, 9, 10, 1, 9, 11})
	f.Add([]byte{11, 0, 8, 13})
	f.Add([]byte{2, 3, 10, 12})
	f.Add([]byte{1, 10, 13})
	f.Add([]byte{9, 12})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 12 {
			return
		}
		seen := func(w *way) string {
			s := &talk{sight: &sight{t: t}, ends: [2]*net.TCPConn{w.app, w.target}}
			for _, b := range script {
				s.step(b)
			}
			s.end()
			return strings.Join(s.lines, "\n")
		}
		direct := seen(openDirect(t))
		w := openRelayed(t, everything, relay.Hurried(relay.Options{}))
		if diff := cmp.Diff(direct, seen(w)); diff != "" {
			t.Errorf("what app and target see (-direct +relayed):\n%s", diff)
		}
		w.ended(t)
		if strings.Contains(direct, "hangs") {
			t.Errorf("a wait did not end:\n%s", direct)
		}
	})
}
