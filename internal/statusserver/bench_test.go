// SPDX-License-Identifier: Apache-2.0

package statusserver

import (
	"io"
	"net/http"
	"testing"
)

// BenchmarkConnections measures the list of 10,000 connections as JSON.
func BenchmarkConnections(b *testing.B) {
	handler, _ := handlerFor(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		n, err := io.Copy(io.Discard, request(handler, http.MethodGet, "localhost", "/connections").Body)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n), "bytes")
	}
}
