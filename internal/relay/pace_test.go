// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"testing"
	"time"
)

// TestPace: however many connections are received at their apps' pace, and
// however unevenly, the pipeline passes within 200 ms.
func TestPace(t *testing.T) {
	for _, paced := range []int{1, 2, 4, 16} {
		pacer := new(Pacer)
		connections := make([]pace, paced)
		for i := range connections {
			connections[i].pacer = pacer
			connections[i].slow()
			connections[i].slow() // once is enough
		}
		// Each app never reads: whatever is received is received because the
		// credit was used up.
		for i := range connections {
			var waited time.Duration
			for received := 0; received < pipeline/paced; received += 4 << 10 {
				waited += connections[i].credit
				connections[i].waited(connections[i].credit)
				connections[i].received(4 << 10)
			}
			if waited > 200*time.Millisecond {
				t.Errorf("%d paced: one held its part of the pipeline up for %s, want 200ms at the most", paced, waited)
			}
			if waited < 100*time.Millisecond {
				t.Errorf("%d paced: one could wait for %s only, so that honest apps would be reset", paced, waited)
			}
		}
		for i := range connections {
			connections[i].fast()
			connections[i].fast()
		}
		if n := pacer.paced.Load(); n != 0 {
			t.Errorf("%d connections count as paced after the end", n)
		}
	}
}
