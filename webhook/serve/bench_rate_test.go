// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// The load of BenchmarkRate.
const rate, connections = 500, 10 // admissions a second, and the number of their connections

// BenchmarkRate sends 500 admissions of Prometheus Operator's pod a second over TLS to
// a webhook. The webhook is a process of its own with one core. It reports the latency
// (the median, over the seconds, of each second's p99), the processor time of one
// admission, and the process's peak memory.
//
// Between these are seconds with a server that only answers. Its latency shows the
// share of the machine and of the client.
func BenchmarkRate(b *testing.B) {
	r := startAlone(b, 0)
	body := review(b, creation(b, prometheusPod(b)))
	client := r.client()
	idle := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body) // about as long as our answer
	}))
	defer idle.Close()
	idle.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = connections
	var ours, nothing waits
	before := processorTime(b, r.pid)
	for b.Loop() {
		ours.second(b, func() error { _, err := r.send(client, body); return err })
		nothing.second(b, func() error { return post(idle, body) })
	}
	b.ReportMetric(median(ours.p50), "p50-ms")
	b.ReportMetric(median(ours.p99), "p99-ms")
	b.ReportMetric(median(nothing.p99), "p99-of-nothing-ms")
	b.ReportMetric((processorTime(b, r.pid)-before).Seconds()*1e6/float64(b.N*rate), "cpu-µs/request")
	b.ReportMetric(r.peak(), "MiB-at-most")
}

// waits are the latencies in each second, in milliseconds.
type waits struct{ p50, p99 []float64 }

// second sends for one second. Each request begins at its own time, whether or not the
// others have ended.
func (w *waits) second(b *testing.B, send func() error) {
	var mu sync.Mutex
	var took []float64
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
				if err := send(); err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				took = append(took, float64(time.Since(at).Microseconds())/1000)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if len(took) < rate {
		b.FailNow()
	}
	slices.Sort(took)
	w.p50 = append(w.p50, took[len(took)/2])
	w.p99 = append(w.p99, took[len(took)*99/100])
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func post(server *httptest.Server, body []byte) error {
	resp, err := server.Client().Post(server.URL, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
