// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

func (w Work) target() string { return net.JoinHostPort(w.Host, strconv.Itoa(w.Port)) }

// setup opens N connections, At at a time, each up to the first byte back, and
// closes them.
func setup(ctx context.Context, dial dialFunc, w Work) (Figures, error) {
	took := make([]time.Duration, w.N)
	began := time.Now()
	err := each(ctx, w.N, w.At, func(ctx context.Context, i int) error {
		start := time.Now()
		conn, err := openEcho(ctx, dial, w.target())
		if err != nil {
			return err
		}
		took[i] = time.Since(start)
		return conn.Close()
	})
	elapsed := time.Since(began)
	return Figures{
		"p50-ms": ms(percentile(took, 50)), "p99-ms": ms(percentile(took, 99)),
		"per-second": float64(w.N) / elapsed.Seconds(),
	}, err
}

// openEcho connects to the echo service and waits for the first byte back.
func openEcho(ctx context.Context, dial dialFunc, to string) (net.Conn, error) {
	conn, err := dial(ctx, to)
	if err != nil {
		return nil, err
	}
	if err := exchange(conn, make([]byte, 1)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("no echo: %w", err)
	}
	return conn, nil
}

func exchange(conn net.Conn, p []byte) error {
	if _, err := conn.Write(p); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, p)
	return err
}

// each calls do for 0 to n-1, at most at of them at once, until one fails.
func each(ctx context.Context, n, at int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(at)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// roundTrips sends Bytes N times on one connection, and waits for them each time.
func roundTrips(ctx context.Context, dial dialFunc, w Work) (Figures, error) {
	conn, err := openEcho(ctx, dial, w.target())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	message := make([]byte, w.Bytes)
	took := make([]time.Duration, w.N)
	for i := -w.N / 10; i < w.N; i++ { // the first ones do not count
		start := time.Now()
		if err := exchange(conn, message); err != nil {
			return nil, err
		}
		if i >= 0 {
			took[i] = time.Since(start)
		}
	}
	return Figures{"p50-ms": ms(percentile(took, 50)), "p99-ms": ms(percentile(took, 99))}, nil
}

// download takes Bytes, spread over N connections.
func download(ctx context.Context, dial dialFunc, w Work) (Figures, error) {
	return bulk(ctx, dial, w, func(conn net.Conn, n int64) error {
		got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 256<<10))
		if err == nil && got != n {
			err = fmt.Errorf("%d bytes came of %d", got, n)
		}
		return err
	})
}

// uploadChunk is how many bytes a client writes at once: as many as io.Copy.
// konnectivity-client makes one packet of each write, however large. An agent queues
// packets, not bytes, and serves all connections from one loop.
const uploadChunk = 32 << 10

// upload sends Bytes, spread over N connections, and waits until the target has read all.
func upload(ctx context.Context, dial dialFunc, w Work) (Figures, error) {
	return bulk(ctx, dial, w, func(conn net.Conn, n int64) error {
		for chunk := make([]byte, uploadChunk); n > 0; {
			wrote, err := conn.Write(chunk[:min(n, int64(len(chunk)))])
			if err != nil {
				return err
			}
			n -= int64(wrote)
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	})
}

// bulk sends on each of N connections how many bytes it will move, and moves them.
func bulk(ctx context.Context, dial dialFunc, w Work, move func(conn net.Conn, n int64) error) (Figures, error) {
	n := w.Bytes / int64(w.N)
	began := time.Now()
	err := each(ctx, w.N, w.N, func(ctx context.Context, _ int) error {
		conn, err := dial(ctx, w.target())
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, uint64(n))); err != nil {
			return err
		}
		return move(conn, n)
	})
	return Figures{"MiB-per-second": float64(n*int64(w.N)) / (1 << 20) / time.Since(began).Seconds()}, err
}

// hold opens N more connections, At at a time, and keeps them.
func (d *driver) hold(ctx context.Context, dial dialFunc, w Work) (Figures, error) {
	conns, took := make([]net.Conn, w.N), make([]time.Duration, w.N)
	began := time.Now()
	err := each(ctx, w.N, w.At, func(ctx context.Context, i int) (err error) {
		start := time.Now()
		conns[i], err = openEcho(ctx, dial, w.target())
		took[i] = time.Since(start)
		return err
	})
	elapsed := time.Since(began)
	for _, c := range conns {
		if c != nil {
			d.held = append(d.held, c)
		}
	}
	return Figures{"seconds": elapsed.Seconds(), "worst-ms": ms(percentile(took, 100))}, err
}

// letGo closes the held connections.
func (d *driver) letGo(context.Context, dialFunc, Work) (Figures, error) {
	for _, c := range d.held {
		_ = c.Close()
	}
	n := len(d.held)
	d.held = nil
	return Figures{"closed": float64(n)}, nil
}

// percentile returns the p-th percentile of d, which it sorts.
func percentile(d []time.Duration, p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)*p/100, len(d)-1)]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
