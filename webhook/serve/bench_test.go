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

// quietHandler returns a handler whose log is formatted as usual and then dropped.
func quietHandler(b *testing.B) *testHandler {
	r := newTestHandler(b, plainSources(b), config(b, operatorsFile))
	h := r.handler.(*handler)
	h.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil))
	h.Metrics = NewMetrics(prometheus.NewRegistry())
	return r
}

// processorTime returns the processor time of a process; pid 0 is this process. Other
// processes on the machine do not change it.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	const scheduled = 2 // CPUCLOCK_SCHED: the clock ID is computed from the process ID (clock_getcpuclockid(3))
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &used); err != nil {
		b.Fatalf("the processor time of process %d: %v", pid, err)
	}
	return time.Duration(used.Nano())
}

// BenchmarkAdmission measures one admission, from request body to response body.
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
			r := quietHandler(b)
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
