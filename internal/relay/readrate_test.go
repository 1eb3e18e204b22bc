// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"testing"
	"time"
)

// feed simulates an app that has taken taken(t) bytes at time t, and a target that
// never stops. It returns the lowest and highest level of the app's buffer.
func feed(size float64, lasts time.Duration, taken func(time.Duration) float64) (lowest, highest float64) {
	const step = time.Millisecond
	var a readRate
	began := time.Unix(1e9, 0)
	a.start(began, 0)
	held, gone := size/2, 0.0
	lowest, highest = held, held
	for now := time.Duration(0); now < lasts; now += step {
		take := min(held, taken(now)-gone)
		held, gone = held-take, gone+take
		a.update(began.Add(now), int64(gone), held/size)
		for a.wait(held/size) == 0 {
			a.countReceived(4 << 10)
			held += 4 << 10
		}
		lowest, highest = min(lowest, held), max(highest, held)
	}
	return lowest / size, highest / size
}

// An app is received at its own rate, also if it reads in bursts: its buffer runs
// neither full nor empty.
func TestAppsAreReceivedAtTheirPace(t *testing.T) {
	const size = 16 << 20
	steady := func(rate float64) func(time.Duration) float64 {
		return func(d time.Duration) float64 { return rate * d.Seconds() }
	}
	tests := []struct {
		name  string
		taken func(time.Duration) float64
		dry   bool // may run empty at first, because nothing is known of the app
	}{
		{"never reads", steady(0), false},
		{"100 kB/s", steady(1e5), false},
		{"2 MB/s", steady(2e6), false},
		{"10 MB/s", steady(1e7), true},
		{"10 MB every 5 s", func(d time.Duration) float64 { return 1e7 * float64(int(d.Seconds()/5)) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lowest, highest := feed(size, 2*time.Minute, tt.taken)
			if highest >= 1 {
				t.Errorf("its buffer ran full: %.2f", highest)
			}
			if lowest <= 0 && !tt.dry {
				t.Errorf("its buffer ran dry: %.2f", lowest)
			}
		})
	}
}

// Each wait is longer than zero, and at most maxWait.
func TestReadRateWaitsAreBounded(t *testing.T) {
	var a readRate
	now := time.Unix(1e9, 0)
	a.start(now, 0)
	a.countReceived(1 << 30)
	for i := range 1000 {
		now = now.Add(time.Duration(i) * time.Millisecond)
		a.update(now, int64(i)*1000, float64(i)/1000)
		if w := a.wait(float64(i) / 1000); w < 0 || w > maxWait || (w > 0 && w < time.Millisecond) {
			t.Fatalf("look %d: a wait of %s", i, w)
		}
	}
}
