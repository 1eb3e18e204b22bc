// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestKilledTransfersDoNotLockAnExit: uploads and downloads at full speed are killed at
// once, again and again. Without an exit that can lock server and agent up for ever
// (docs/reliability.md, "Server and agent can deadlock"). With one there is nothing to
// close between them, and both are read all the time. BenchmarkKilledTransfers tries it a
// hundred times, and also without an exit.
func TestKilledTransfersDoNotLockAnExit(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newExitRig(t, lab.Options{Mode: mode})
		for i := range 3 {
			if err := r.killTransfers(labtest.Context(t, hang)); err != nil {
				t.Fatalf("try %d: %v", i, err)
			}
		}
		r.wantNoStreams(t)
	})
}

// killTransfers runs five uploads and five downloads, kills all of them once all of them
// move, and returns an error if no connection works after that.
func (r *rig) killTransfers(ctx context.Context) error {
	const each = 5
	const moved = 2 << 20 // of each transfer
	var (
		apps  sync.WaitGroup
		conns []net.Conn
	)
	ready := make(chan error, 2*each)
	defer apps.Wait()
	defer func() { // a killed process has its sockets closed by the kernel
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	for i := range 2 * each {
		conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, 1+i), target.HTTPPort)
		if err != nil {
			return err
		}
		conns = append(conns, conn)
		transfer := upload
		if i < each {
			transfer = download
		}
		apps.Go(func() { transfer(conn, moved, ready) })
	}
	for range conns {
		if err := <-ready; err != nil {
			return fmt.Errorf("a transfer before it was killed: %w", err)
		}
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	return r.works(ctx)
}

// download reads without an end. It reports once when this much has been read.
func download(conn net.Conn, moved int64, ready chan<- error) {
	_, err := fmt.Fprintf(conn, "GET /file?bytes=%d HTTP/1.0\r\n\r\n", int64(1)<<40)
	if err == nil {
		_, err = io.CopyN(io.Discard, conn, moved)
	}
	ready <- err
	_, _ = io.Copy(io.Discard, conn)
}

// upload does the same in the other direction.
func upload(conn net.Conn, moved int64, ready chan<- error) {
	_, err := fmt.Fprintf(conn, "PUT /upload HTTP/1.0\r\nContent-Length: %d\r\n\r\n", int64(1)<<40)
	zeros := make([]byte, 64<<10)
	for sent := int64(0); err == nil && sent < moved; sent += int64(len(zeros)) {
		_, err = conn.Write(zeros)
	}
	ready <- err
	for err == nil {
		_, err = conn.Write(zeros)
	}
}

// works returns nil once a new connection gets a whole answer.
func (r *rig) works(ctx context.Context) error {
	return lab.Poll(ctx, "a new connection to work", func(ctx context.Context) error {
		conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, 1), target.SpeakFirstPort)
		if err != nil {
			return err
		}
		defer conn.Close()
		got, err := io.ReadAll(conn)
		if err == nil && string(got) != target.Banner {
			err = fmt.Errorf("it got %q", got)
		}
		return err
	})
}

// BenchmarkKilledTransfers counts how many of a hundred tries lock server and agent up,
// with an exit and without.
func BenchmarkKilledTransfers(b *testing.B) {
	const tries = 100
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		for name, start := range map[string]func(testing.TB, lab.Options, ...string) *rig{"exit": newExitRig, "plain": newRig} {
			b.Run(fmt.Sprintf("%s/%s", mode, name), func(b *testing.B) {
				r := start(b, lab.Options{Mode: mode})
				locked := 0
				for range b.N * tries {
					ctx, cancel := context.WithTimeout(context.Background(), hang)
					err := r.killTransfers(ctx)
					cancel()
					if err == nil {
						continue
					}
					locked++
					b.Logf("%v", err)
					r.unlock(b)
				}
				b.ReportMetric(float64(locked)/float64(b.N), "locked/100")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// unlock starts server and agent again.
func (r *rig) unlock(t testing.TB) {
	t.Helper()
	ctx := labtest.Context(t, time.Minute)
	if err := r.Servers[0].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Agents[0].Restart(); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitTunnel(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.works(ctx); err != nil {
		t.Fatal(err)
	}
}
