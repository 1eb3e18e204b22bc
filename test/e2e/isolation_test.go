// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// frozen is what no round trip may take beside an app that reads slowly or not
// at all: four times what is promised, for machines are noisy. The promise is
// measured by BenchmarkIsolation.
const frozen = time.Second

// startStalled begins a download of 1 GiB and reads none of it.
func startStalled(t testing.TB, dial dialFunc) net.Conn {
	t.Helper()
	conn, err := dial(labtest.Context(t, 5*time.Minute), lab.ShootPod(lab.IPv4, 2), target.HTTPPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET /file?bytes=1073741824 HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// One app that stops reading must not freeze the others. It is reset, but not
// before its buffer is full, and nothing else is.
func TestAnAppThatStopsReadingFreezesNobody(t *testing.T) {
	const buffer = 16 << 20 // --connection-buffer
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t, lab.Options{Mode: mode})
			r.idle(t)
			p := startPulse(t, r.asApp)
			before := r.metrics(t)
			startStalled(t, r.asApp)
			var buffered, resident float64
			eventually(t, "the app that does not read to be reset", func(ctx context.Context) error {
				now, err := r.SidecarMetrics(ctx)
				if err != nil {
					return err
				}
				buffered = max(buffered, now.Sum("proxy_client_buffered_bytes"))
				resident = max(resident, now.Sum("process_resident_memory_bytes"))
				if len(increases("proxy_client_close_total", before, now)) == 0 {
					return fmt.Errorf("%.0f bytes are held back for it", buffered)
				}
				return nil
			})
			r.wantCounted(t, "proxy_client_close_total", before, "slow_reader")
			p.wantAlive(t, "an app that has stopped reading")
			// The highest reading lies somewhat below the highest value.
			if buffered > buffer || buffered < buffer/2 {
				t.Errorf("at most %.0f bytes were held back for the app, want nearly %d", buffered, buffer)
			}
			if grown := resident - before.Sum("process_resident_memory_bytes"); grown > 3*buffer {
				t.Errorf("the sidecar grew by %.0f bytes for a buffer of %d", grown, buffer)
			}
		})
	}
}

// The control experiment: stock clients fail the same test.
func TestStockClientsFreeze(t *testing.T) {
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			r := newBareRig(t, lab.Options{Mode: mode})
			dial := r.asStockClient
			p := startPulse(t, dial)
			startStalled(t, dial)
			eventually(t, "the other connection to stand still", func(context.Context) error {
				if worst := p.worst(); worst <= frozen {
					return fmt.Errorf("its longest round trip took %s", worst)
				}
				return nil
			})
		})
	}
}

// Apps that read slowly, but not that slowly, get everything, and the others
// hardly notice.
func TestSlowAppsGetEverything(t *testing.T) {
	size := scale(256 << 20)
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		for _, c := range []struct {
			apps int
			rate string
		}{{1, "10M"}, {4, "2M"}} {
			name := fmt.Sprintf("%d at %s a second", c.apps, c.rate)
			t.Run(string(mode)+"/"+name, func(t *testing.T) {
				t.Parallel() // they wait most of the time
				r := newRig(t, lab.Options{Mode: mode})
				p := startPulse(t, r.asApp)
				results := make(chan error, c.apps)
				for i := range c.apps {
					go func() {
						got := target.NewPatternWriter()
						_, err := r.app(labtest.Context(t, 10*time.Minute), nil, got, "curl", "-sS", "--limit-rate", c.rate,
							lab.URL(lab.ShootPod(lab.IPv4, 2+i), target.HTTPPort, fmt.Sprintf("/file?bytes=%d", size)))
						if err == nil && got.N != size {
							err = fmt.Errorf("%d bytes of %d", got.N, size)
						}
						results <- err
					}()
				}
				for range c.apps {
					if err := <-results; err != nil {
						t.Error(err)
					}
				}
				p.wantAlive(t, name)
			})
		}
	}
}

// BenchmarkIsolation measures what is promised of a connection beside an app
// that has stopped reading: p99 within three times of what it is without, and
// 250 ms at the worst.
func BenchmarkIsolation(b *testing.B) {
	const minute = time.Minute
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		b.Run(string(mode), func(b *testing.B) {
			r := newRig(b, lab.Options{Mode: mode})
			p := startPulse(b, r.asApp)
			for range b.N {
				p.forget()
				time.Sleep(minute) // what is measured
				alone := p.figures()
				p.forget()
				startStalled(b, r.asApp)
				time.Sleep(minute)
				beside := p.figures()
				b.Logf("alone: %s; beside an app that has stopped reading: %s", alone, beside)
				b.ReportMetric(float64(beside.p99)/float64(alone.p99), "p99-ratio")
				b.ReportMetric(float64(beside.worst.Microseconds())/1000, "worst-ms")
				b.ReportMetric(float64(alone.worst.Microseconds())/1000, "worst-alone-ms")
				b.ReportMetric(0, "ns/op")
			}
			p.wantAlive(b, "an app that has stopped reading")
		})
	}
}
