// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
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

// BenchmarkRate sends 500 admissions a second by TLS over ten connections, with one
// core for both sides, and reports what they waited for their answers. Each begins at
// its own time, whether the others are done or not.
func BenchmarkRate(b *testing.B) {
	const rate, connections = 500, 10
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	r := start(b, plain(b), atOnce)
	r.log.discard()
	body := review(b, creation(b, prometheusPod(b)))
	client := r.client()
	var mu sync.Mutex
	var took []time.Duration
	before := processorTime(b)
	b.ResetTimer()
	for range b.N { // seconds
		due := make(chan time.Time, rate)
		for i := range rate {
			due <- time.Now().Add(time.Duration(i) * time.Second / rate)
		}
		close(due)
		var clients sync.WaitGroup
		for range connections {
			clients.Go(func() {
				for at := range due {
					time.Sleep(time.Until(at))
					if _, err := r.send(client, body); err != nil {
						b.Error(err)
						return
					}
					mu.Lock()
					took = append(took, time.Since(at))
					mu.Unlock()
				}
			})
		}
		clients.Wait()
	}
	b.StopTimer()
	slices.Sort(took)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(len(took)), "cpu-µs-of-both/request")
	b.ReportMetric(float64(memory.Sys)/(1<<20), "MiB-of-both")
	r.stop()
	if err := r.wait(); err != nil {
		b.Error(err)
	}
}
