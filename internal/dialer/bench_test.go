// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// cpu returns the CPU time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perGiB runs transfer, which moves size bytes, and reports its cost.
func perGiB(b *testing.B, size int, transfer func()) {
	b.ReportAllocs()
	b.SetBytes(int64(size))
	transfer() // TLS begins with small records, TCP and HTTP/2 with small windows
	began, n := cpu(b), 0
	for b.Loop() {
		transfer()
		n++
	}
	used := cpu(b) - began
	b.ReportMetric(float64(used.Milliseconds())/(float64(n)*float64(size)/(1<<30)), "cpu-ms/GiB")
}

// together calls a function for all connections at the same time.
func together(conns []tunnel.Conn, do func(tunnel.Conn)) {
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(func() { do(c) })
	}
	all.Wait()
}

// benchConns opens n connections, until the end of the benchmark.
func benchConns(b *testing.B, dst netip.AddrPort, n int) []tunnel.Conn {
	d := benchDialer(b)
	conns := make([]tunnel.Conn, n)
	for i := range conns {
		conns[i] = d.benchDial(b, dst)
	}
	b.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})
	return conns
}

func amount(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

const benchSize = 32 << 20

// BenchmarkDownload receives in packets of an agent's size.
func BenchmarkDownload(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) {
			conns := benchConns(b, benchSource, n)
			perGiB(b, benchSize, func() {
				together(conns, func(c tunnel.Conn) {
					if err := c.Send(amount(benchSize / n)); err != nil {
						b.Error(err)
					}
					receiveN(b, c, benchSize/n)
				})
			})
		})
	}
}

// BenchmarkUpload sends in pieces of the size that a relay reads at once.
func BenchmarkUpload(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) {
			conns := benchConns(b, benchSink, n)
			chunk := bytes.Repeat([]byte("x"), tunnel.SendUnit)
			perGiB(b, benchSize, func() {
				together(conns, func(c tunnel.Conn) {
					err := c.Send(amount(benchSize / n))
					for left := benchSize / n; left > 0 && err == nil; left -= len(chunk) {
						err = c.Send(chunk[:min(left, len(chunk))])
					}
					if err != nil {
						b.Error(err)
					}
					receiveN(b, c, 1)
				})
			})
		})
	}
}

// receiveN receives n bytes, and no more.
func receiveN(b *testing.B, c tunnel.Conn, n int) {
	for n > 0 {
		p, err := c.Receive()
		if err != nil {
			b.Error(err)
			return
		}
		n -= len(p)
	}
	if n < 0 {
		b.Errorf("received %d bytes too many", -n)
	}
}

// BenchmarkDial dials and closes.
func BenchmarkDial(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("at_once=%d", n), func(b *testing.B) {
			d := benchDialer(b)
			b.ReportAllocs()
			conns := make([]tunnel.Conn, n)
			began, done := cpu(b), 0
			for b.Loop() {
				together(conns, func(tunnel.Conn) {
					c := d.benchDial(b, benchEcho)
					_ = c.Close()
					_, _ = c.Receive() // until its end
				})
				done += n
			}
			b.ReportMetric(float64((cpu(b)-began).Microseconds())/float64(done), "cpu-µs/dial")
			b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "dials/s")
		})
	}
}

// BenchmarkRoundTrip sends and waits for the echo.
func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{1, 16 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			c := benchConns(b, benchEcho, 1)[0]
			p := make([]byte, size)
			b.ReportAllocs()
			began := cpu(b)
			for b.Loop() {
				if err := c.Send(p); err != nil {
					b.Fatal(err)
				}
				receiveN(b, c, size)
			}
			b.ReportMetric(float64((cpu(b)-began).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// BenchmarkIdle opens connections on which nothing happens, each with a Receive that
// waits. It reports the heap and stacks that each takes.
func BenchmarkIdle(b *testing.B) {
	const n = 2000
	d := benchDialer(b)
	for b.Loop() {
		conns := make([]tunnel.Conn, n)
		var receivers sync.WaitGroup
		before := memoryInUse()
		for i := range conns {
			conns[i] = d.benchDial(b, benchEcho)
			receivers.Go(func() {
				if p, err := conns[i].Receive(); !errors.Is(err, tunnel.ErrClosed) {
					b.Errorf("received %q and %v on an idle connection", p, err)
				}
			})
		}
		after := memoryInUse()
		for _, c := range conns {
			_ = c.Close()
		}
		receivers.Wait()
		b.ReportMetric(float64(after-before)/n, "bytes/conn")
	}
}

// BenchmarkTLS measures the cost of bytes on a TLS connection alone, to compare
// BenchmarkDownload and BenchmarkUpload with.
func BenchmarkTLS(b *testing.B) {
	far := startFarSide(b)
	conn, err := tls.Dial("tcp", far.tls, far.config)
	must(b, err)
	defer conn.Close()
	buf := make([]byte, benchChunk)
	b.Run("download", func(b *testing.B) {
		perGiB(b, benchSize, func() {
			_, err := conn.Write(append([]byte("d"), amount(benchSize)...))
			for left := benchSize; left > 0 && err == nil; {
				var n int
				n, err = conn.Read(buf)
				left -= n
			}
			must(b, err)
		})
	})
	b.Run("upload", func(b *testing.B) {
		perGiB(b, benchSize, func() {
			_, err := conn.Write(append([]byte("u"), amount(benchSize)...))
			for left := benchSize; left > 0 && err == nil; left -= len(buf) {
				_, err = conn.Write(buf)
			}
			must(b, err)
			_, err = io.ReadFull(conn, buf[:1])
			must(b, err)
		})
	})
}
