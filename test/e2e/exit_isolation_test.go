// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// slowApps are apps that read at one rate, each a download of that size.
type slowApps struct {
	apps int
	rate float64 // bytes a second
	size int64
}

// slowLoads are what an exit has to bear. They take some seconds, and all of the product's
// and the kernels' buffers are full before the end. BenchmarkExitIsolation has larger ones.
var slowLoads = []slowApps{{1, 10e6, 64 << 20}, {4, 2e6, 16 << 20}, {1, 100e3, 800 << 10}}

// TestAnExitIsolatesAppsThatReadSlowly: with an exit, apps that read slowly get
// everything. So does an app that has not read at all for as long. Without an exit it is
// reset (TestAnAppThatStopsReadingFreezesNobody). Connections beside them get their
// answers, and new ones are made. Nothing is reset.
func TestAnExitIsolatesAppsThatReadSlowly(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newExitRig(t, lab.Options{Mode: mode})
		before := r.metrics(t)
		p := startPulse(t, r.asApp)
		const size = 64 << 20
		stalled := r.startUnread(t, size)
		fresh := r.startFresh(t)
		r.runSlowApps(t, p, slowLoads)
		wantNoneFailed(t, fresh.end(t))
		p.wantAlive(t, "apps that read slowly or not at all")
		if err := readAll(stalled, size); err != nil {
			t.Errorf("the app that had stopped reading: %v", err)
		}
		_ = stalled.Close()
		r.wantNoStreams(t)
		r.wantOrdinaryEnds(t, before)
	})
}

// startUnread begins a download and reads none of it.
func (r *rig) startUnread(t testing.TB, size int64) net.Conn {
	t.Helper()
	conn, err := r.dial(labtest.Context(t, 5*time.Minute), lab.ShootPod(lab.IPv4, 9), target.HTTPPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET /file?bytes=%d HTTP/1.0\r\n\r\n", size); err != nil {
		t.Fatal(err)
	}
	return conn
}

// readAll reads the answer to a request for a file, and its end.
func readAll(conn net.Conn, size int64) error {
	if err := skipHeader(conn); err != nil {
		return err
	}
	got := target.NewPatternWriter()
	_, err := io.Copy(got, conn)
	if err == nil && got.N != size {
		err = errors.New("a clean end")
	}
	if err != nil {
		return fmt.Errorf("%d bytes of %d, then %w", got.N, size, err)
	}
	return nil
}

// skipHeader reads the header of an answer byte by byte, and not a byte of its body.
func skipHeader(conn io.Reader) error {
	const end = "\r\n\r\n"
	for matched := 0; matched < len(end); {
		var b [1]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return fmt.Errorf("read the answer's header: %w", err)
		}
		switch b[0] {
		case end[matched]:
			matched++
		case end[0]:
			matched = 1
		default:
			matched = 0
		}
	}
	return nil
}

// runSlowApps runs all of these apps at once, and expects that each gets everything. Each
// app waits now and then until the connection beside it has got an answer.
func (r *rig) runSlowApps(t testing.TB, beside *pulse, loads []slowApps) {
	t.Helper()
	var apps sync.WaitGroup
	pod := 10
	for _, load := range loads {
		for range load.apps {
			pod++
			apps.Go(func() {
				if err := r.readSlowly(t, beside, pod, load.size, load.rate); err != nil {
					t.Errorf("an app that reads %.1f MB a second: %v", load.rate/1e6, err)
				}
			})
		}
	}
	apps.Wait()
}

// wantOrdinaryEnds expects that all connections since a reading were ended by their app
// or their target, and that no dial failed.
func (r *rig) wantOrdinaryEnds(t testing.TB, before lab.Metrics) {
	t.Helper()
	after := r.metrics(t)
	if failed := increases("proxy_client_dial_failures_total", before, after); len(failed) != 0 {
		t.Errorf("dials failed: %v", failed)
	}
	closed := increases("proxy_client_close_total", before, after)
	// An app that closes with bytes unread resets.
	for _, ordinary := range []string{"app_closed", "target_closed", "app_reset"} {
		delete(closed, fmt.Sprintf("reason=%q", ordinary))
	}
	if len(closed) != 0 {
		t.Errorf("connections ended otherwise than their app and their target ended them: %v", closed)
	}
}

// TestAnExitIsolatesUploads: with an exit, a target that does not read an upload slows
// that upload and nothing else. Without one its agent stands still
// (TestLimitATargetThatStopsReading). Other uploads through the same agent, new
// connections and open ones go on meanwhile, and the upload goes on after it.
func TestAnExitIsolatesUploads(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newExitRig(t, lab.Options{Mode: mode})
		r.testUploadThatWaits(t, 6*time.Second)
	})
}

// testUploadThatWaits uploads to a target that does not read for that long.
func (r *rig) testUploadThatWaits(t testing.TB, pause time.Duration) {
	t.Helper()
	before := r.metrics(t)
	r.targets.Hold()
	p := startPulse(t, r.asApp)
	const size = 64 << 20
	upload := r.startUpload(t, lab.ShootPod(lab.IPv4, 3), size)
	began := time.Now()
	others := 0
	for ; time.Since(began) < pause; others++ {
		conn, err := r.dial(labtest.Context(t, hang), lab.ShootPod(lab.IPv4, 4), target.SinkPort)
		if err != nil {
			t.Fatal(err)
		}
		const each = 4 << 20
		if _, err := io.CopyN(conn, target.Pattern(), each); err != nil {
			t.Fatalf("another upload, %s after the first: %v", time.Since(began), err)
		}
		_ = conn.Close()
		r.wantSunk(t, each)
		if err := p.awaitRound(labtest.Context(t, hang)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("beside the upload that waits %d others of 4 MiB were taken within %s", others, time.Since(began).Round(time.Millisecond))
	select {
	case err := <-upload:
		t.Fatalf("the whole upload was taken by a target that does not read: %v", err)
	default:
	}
	p.wantAlive(t, "an upload that its target does not read")
	r.targets.Release()
	select {
	case err := <-upload:
		if err != nil {
			t.Errorf("the upload was to be slowed, not ended: %v", err)
		}
	case <-time.After(2 * hang):
		t.Fatal("the upload does not go on")
	}
	r.wantSunk(t, size)
	r.wantNoStreams(t)
	r.wantOrdinaryEnds(t, before)
}

// startUpload uploads to the stuck target in the background, and closes.
func (r *rig) startUpload(t testing.TB, addr netip.Addr, size int64) <-chan error {
	t.Helper()
	conn, err := r.dial(labtest.Context(t, 3*time.Minute), addr, target.StuckPort)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(conn, target.Pattern(), size)
		sent <- errors.Join(err, conn.Close())
	}()
	return sent
}

// wantSunk expects that the next connection to end at a sink has brought the pattern, and
// a clean end.
func (r *rig) wantSunk(t testing.TB, size int64) {
	t.Helper()
	want := target.Sunk{N: size, SHA256: target.PatternHash(size)}
	select {
	case got := <-r.targets.Sunk():
		if got != want {
			t.Errorf("the target got %+v, want %+v", got, want)
		}
	case <-time.After(hang):
		t.Fatal("the target's connection does not end")
	}
}

// BenchmarkExitIsolation measures what a connection feels through an exit, beside an app
// that has stopped reading: the p99 is at most twice that without such an app, and the
// worst 100 ms. Then it has the larger slow apps, and an upload whose target does not read
// for a minute.
func BenchmarkExitIsolation(b *testing.B) {
	const halfMinute = 30 * time.Second
	loads := []slowApps{{1, 10e6, 64 << 20}, {4, 2e6, 64 << 20}, {1, 100e3, 4 << 20}}
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		b.Run(string(mode), func(b *testing.B) {
			r := newExitRig(b, lab.Options{Mode: mode})
			for range b.N {
				p := startPulse(b, r.asApp)
				p.forget()
				time.Sleep(halfMinute) // the time of the measurement
				alone := p.figures()
				stalled := startStalled(b, r.asApp)
				p.forget()
				time.Sleep(halfMinute)
				beside := p.figures()
				p.forget()
				r.runSlowApps(b, p, loads)
				b.Logf("alone: %s; beside an app that has stopped reading: %s; and six that read slowly: %s", alone, beside, p.figures())
				p.wantAlive(b, "apps that read slowly or not at all")
				_ = stalled.Close()
				r.testUploadThatWaits(b, 2*halfMinute)
				b.ReportMetric(float64(beside.p99)/float64(alone.p99), "p99-ratio")
				b.ReportMetric(float64(beside.worst.Microseconds())/1000, "worst-ms")
				b.ReportMetric(float64(alone.worst.Microseconds())/1000, "worst-alone-ms")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}
