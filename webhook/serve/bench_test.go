// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// quiet is a handler whose log goes nowhere, as expensive as a real one.
func quiet(b *testing.B) *rig {
	r := newRig(b, plain(b), config(b, operatorsFile))
	h := r.handler.(*handler)
	h.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil))
	h.Metrics = NewMetrics(prometheus.NewRegistry())
	return r
}

// processorTime is what a process, 0 for this one, has used so far, which others on the
// machine do not change.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	const scheduled = 2 // CPUCLOCK_SCHED: the clock of a process is made of its id (clock_getcpuclockid(3))
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &used); err != nil {
		b.Fatalf("the processor time of process %d: %v", pid, err)
	}
	return time.Duration(used.Nano())
}

// BenchmarkAdmission is what one admission costs, from body to body.
func BenchmarkAdmission(b *testing.B) {
	unlabelled := prometheusPod(b)
	delete(unlabelled.Labels, webhook.Label)
	for _, bench := range []struct {
		name string
		body []byte
	}{
		{"small", review(b, creation(b, labelled()))},
		{"prometheus", review(b, creation(b, prometheusPod(b)))},
		{"unlabelled", review(b, creation(b, unlabelled))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := quiet(b)
			b.ReportAllocs()
			before := processorTime(b, 0)
			for b.Loop() {
				if recorder := r.post(bench.body); recorder.Code != 200 {
					b.Fatal(recorder.Body)
				}
			}
			b.ReportMetric(float64((processorTime(b, 0)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}
