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

// processorTime is what this process has used so far, which others on the machine do
// not change.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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
			before := processorTime(b)
			for b.Loop() {
				if recorder := r.post(bench.body); recorder.Code != 200 {
					b.Fatal(recorder.Body)
				}
			}
			b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}
