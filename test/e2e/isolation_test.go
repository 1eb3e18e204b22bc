// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

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

// TestAnAppThatStopsReadingFreezesNobody: one app that stops reading must not freeze the
// others. It is reset, but not before its buffer is full. No other connection is reset.
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
			roundsWhenHalfFull := -1
			eventually(t, "the app that does not read to be reset", func(ctx context.Context) error {
				now, err := r.SidecarMetrics(ctx)
				if err != nil {
					return err
				}
				buffered = max(buffered, now.Sum("proxy_client_buffered_bytes"))
				resident = max(resident, now.Sum("process_resident_memory_bytes"))
				if roundsWhenHalfFull < 0 && buffered >= buffer/2 {
					roundsWhenHalfFull = p.rounds()
				}
				if len(increases("proxy_client_close_total", before, now)) == 0 {
					return fmt.Errorf("%.0f bytes are held back for it", buffered)
				}
				return nil
			})
			r.wantCounted(t, "proxy_client_close_total", before, "slow_reader")
			// The first may have been under way already.
			if rounds := p.rounds() - roundsWhenHalfFull; roundsWhenHalfFull >= 0 && rounds < 2 {
				t.Errorf("another connection made %d round trips while bytes were held for the app, want more", rounds)
			}
			p.wantAlive(t, "an app that has stopped reading")
			// The highest reading lies somewhat below the highest value. That value also
			// counts what was received and not passed on yet. This is a stream's window
			// and the piece received last, and the same for the connection beside it.
			const passing = 512 << 10
			if buffered > buffer+passing || buffered < buffer/2 {
				t.Errorf("at most %.0f bytes were held for the app, want nearly %d", buffered, buffer)
			}
			if grown := resident - before.Sum("process_resident_memory_bytes"); grown > 3*buffer {
				t.Errorf("the sidecar grew by %.0f bytes for a buffer of %d", grown, buffer)
			}
		})
	}
}

// TestStockClientsFreeze is the control experiment: stock clients fail the same test.
func TestStockClientsFreeze(t *testing.T) {
	t.Parallel()
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := newBareRig(t, lab.Options{Mode: mode})
			const frozen = time.Second
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

// TestSlowAppsGetEverything: apps that read slowly, but fast enough, get everything, and
// no other connection waits for them. They are twice as fast as they have to be, because
// machines are noisy. BenchmarkSlowCurls measures curl --limit-rate. BenchmarkIsolation
// measures how long others wait.
func TestSlowAppsGetEverything(t *testing.T) {
	size := scale(96 << 20)
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		for _, c := range []struct {
			apps int
			rate float64 // bytes a second
		}{{1, 20e6}, {4, 5e6}} {
			name := fmt.Sprintf("%d at %.0f MB a second", c.apps, c.rate/1e6)
			t.Run(string(mode)+"/"+name, func(t *testing.T) {
				r := newRig(t, lab.Options{Mode: mode})
				p := startPulse(t, r.asApp)
				results := make(chan error, c.apps)
				for i := range c.apps {
					go func() { results <- r.readSlowly(t, p, 2+i, size/int64(c.apps), c.rate) }()
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

// readSlowly downloads from a pod of the shoot, at this many bytes a second. After each 8
// MiB it stops reading until the other connection has made a round trip. If that
// connection had to wait for this app, both would wait for ever. Then it reads at once
// what it has missed.
func (r *rig) readSlowly(t testing.TB, other *pulse, pod int, size int64, rate float64) error {
	ctx := labtest.Context(t, 5*time.Minute)
	conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, pod), target.HTTPPort)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /file?bytes=%d HTTP/1.0\r\n\r\n", size); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	got := target.NewPatternWriter()
	began := time.Now()
	for err == nil {
		due := began.Add(time.Duration(float64(got.N) / rate * float64(time.Second)))
		time.Sleep(time.Until(due)) // the app reads slowly on purpose
		if got.N%(8<<20) == 0 {
			if err := other.awaitRound(ctx); err != nil {
				return fmt.Errorf("%d bytes of %d: %w", got.N, size, err)
			}
		}
		_, err = io.CopyN(got, answer.Body, 64<<10)
	}
	if errors.Is(err, io.EOF) && got.N == size {
		return nil
	}
	return fmt.Errorf("%d bytes of %d, then %w", got.N, size, err)
}

// BenchmarkIsolation measures the promise for a connection beside an app that has stopped
// reading. The p99 is at most three times that without such an app, and the worst is 250
// ms.
func BenchmarkIsolation(b *testing.B) {
	const minute = time.Minute
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		b.Run(string(mode), func(b *testing.B) {
			r := newRig(b, lab.Options{Mode: mode})
			p := startPulse(b, r.asApp)
			for range b.N {
				p.forget()
				time.Sleep(minute) // the time of the measurement
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

// BenchmarkSlowCurls measures which curls with --limit-rate get 256 MiB, and how they
// affect a connection beside them. curl reads 10 MB at once and then sleeps for as long
// as the rate asks for.
func BenchmarkSlowCurls(b *testing.B) {
	const size = 256 << 20
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		for _, c := range []struct {
			curls int
			rate  string
		}{{1, "10M"}, {4, "2M"}} {
			b.Run(fmt.Sprintf("%s/%dx%s", mode, c.curls, c.rate), func(b *testing.B) {
				r := newRig(b, lab.Options{Mode: mode})
				p := startPulse(b, r.asApp)
				var whole, bytes atomic.Int64
				for range b.N {
					var curls sync.WaitGroup
					for i := range c.curls {
						curls.Go(func() {
							got := target.NewPatternWriter()
							_, err := r.app(labtest.Context(b, 10*time.Minute), nil, got, "curl", "-sS", "--limit-rate", c.rate,
								lab.URL(lab.ShootPod(lab.IPv4, 2+i), target.HTTPPort, fmt.Sprintf("/file?bytes=%d", size)))
							if bytes.Add(got.N); err == nil && got.N == size {
								whole.Add(1)
							}
						})
					}
					curls.Wait()
				}
				f := p.figures()
				b.Logf("beside %d curls at %s: %s", c.curls, c.rate, f)
				n := float64(c.curls * b.N)
				b.ReportMetric(float64(whole.Load())/n, "whole")
				b.ReportMetric(float64(bytes.Load())/n/(1<<20), "MiB/curl")
				b.ReportMetric(float64(f.p99.Microseconds())/1000, "p99-ms")
				b.ReportMetric(float64(f.worst.Microseconds())/1000, "worst-ms")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
