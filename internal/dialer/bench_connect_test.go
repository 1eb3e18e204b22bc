// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Each benchmark runs twice. "bare" is the least that a sidecar can do for a connection
// in http-connect mode, and "ours" is this package.

// movedBytes is how many bytes one operation of a throughput benchmark moves.
const movedBytes = 64 << 20

// BenchmarkConnectDown and BenchmarkConnectUp measure the CPU time that the bytes of
// one connection cost between an app's socket and the tunnel.
func BenchmarkConnectDown(b *testing.B) { benchmarkMove(b, 'd') }

func BenchmarkConnectUp(b *testing.B) { benchmarkMove(b, 'u') }

func benchmarkMove(b *testing.B, direction byte) {
	for _, way := range []string{"bare", "ours"} {
		b.Run(way, func(b *testing.B) {
			far := startFarSide(b)
			app, err := net.Dial("tcp", far.app)
			must(b, err)
			far.move(b, 'a', 0) // the app accepts
			var both sync.WaitGroup
			end := pipeBare
			if way == "ours" {
				end = pipeOurs
			}
			closeTunnel := end(b, far, app.(*net.TCPConn), &both)
			far.move(b, direction, movedBytes) // windows and pools have grown
			b.SetBytes(movedBytes)
			b.ReportAllocs()
			before := processTime(b)
			for b.Loop() {
				far.move(b, direction, movedBytes)
			}
			used := processTime(b) - before
			b.ReportMetric(float64(used.Milliseconds())/float64(b.N)*(1<<30)/movedBytes, "cpu-ms/GiB")
			_ = app.Close()
			closeTunnel()
			both.Wait()
		})
	}
}

// pipeBare moves bytes with io.Copy, as armon/go-socks5 does.
func pipeBare(b *testing.B, far *farSide, app *net.TCPConn, both *sync.WaitGroup) func() {
	conn := far.bare(b)
	both.Go(func() { _, _ = io.Copy(app, conn) })
	both.Go(func() { _, _ = io.Copy(conn, app) })
	return func() { _ = conn.Close() }
}

// upload is how many bytes of an app are sent at once.
const upload = 64 << 10

func pipeOurs(b *testing.B, far *farSide, app *net.TCPConn, both *sync.WaitGroup) func() {
	d := newDialer(b, far.pki.client(), hang, far.server)
	conn, err := d.DialContext(b.Context(), target, nil)
	must(b, err)
	both.Go(func() {
		for {
			p, err := conn.Receive()
			if err != nil {
				return
			}
			if _, err := app.Write(p); err != nil {
				return
			}
		}
	})
	both.Go(func() {
		buf := make([]byte, upload)
		for {
			n, err := app.Read(buf)
			if err != nil {
				return
			}
			if err := conn.Send(buf[:n]); err != nil {
				return
			}
		}
	})
	return func() { _ = conn.Close() }
}

// BenchmarkConnectDial measures one set-up after the other.
func BenchmarkConnectDial(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		far := startFarSide(b)
		b.ReportAllocs()
		before := processTime(b)
		for b.Loop() {
			_ = far.bare(b).Close()
		}
		b.ReportMetric(float64((processTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	})
	b.Run("ours", func(b *testing.B) {
		far := startFarSide(b)
		d := newDialer(b, far.pki.client(), hang, far.server)
		b.ReportAllocs()
		before := processTime(b)
		for b.Loop() {
			conn, err := d.DialContext(b.Context(), target, nil)
			must(b, err)
			must(b, conn.Close())
		}
		b.ReportMetric(float64((processTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	})
}

// BenchmarkConnectIdle measures the memory of a connection that has received something
// and waits for more.
func BenchmarkConnectIdle(b *testing.B) {
	const connections, received = 1000, 64 << 10
	order := []byte{'d', 0, 0, 0, 0, 0, 1, 0, 0} // received
	for _, way := range []string{"bare", "ours"} {
		b.Run(way, func(b *testing.B) {
			far := startFarSide(b)
			d := newDialer(b, far.pki.client(), hang, far.server)
			for b.Loop() {
				before := memoryInUse()
				var idle, waiting sync.WaitGroup
				var all []io.Closer
				for range connections {
					idle.Add(1)
					if way == "bare" {
						conn := far.bare(b)
						all = append(all, conn)
						waiting.Go(func() { _, _ = io.Copy(&countdown{received, &idle}, conn) })
						_, err := conn.Write(order)
						must(b, err)
						continue
					}
					conn, err := d.DialContext(b.Context(), target, nil)
					must(b, err)
					all = append(all, conn)
					waiting.Go(func() {
						w := countdown{received, &idle}
						for err := error(nil); err == nil; {
							var p []byte
							p, err = conn.Receive()
							_, _ = w.Write(p)
						}
						if w.left != 0 {
							b.Error("not all was received")
						}
					})
					must(b, conn.Send(order))
				}
				idle.Wait()
				b.ReportMetric(float64(memoryInUse()-before)/connections, "B/conn")
				for _, c := range all {
					_ = c.Close()
				}
				waiting.Wait()
				d.background.Wait()
			}
		})
	}
}

// countdown is closed when all bytes have come.
type countdown struct {
	left int
	done *sync.WaitGroup
}

func (c *countdown) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.left -= len(p); c.left == 0 {
		c.done.Done()
	}
	return len(p), nil
}

// memoryInUse returns the memory of heap and stacks after a garbage collection.
func memoryInUse() int64 {
	var m runtime.MemStats
	for range 4 { // pools are emptied in two steps, and stacks shrink by half in each
		time.Sleep(10 * time.Millisecond)
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// BenchmarkCertificatesVersion measures the check of the TLS files that each dial
// makes.
func BenchmarkCertificatesVersion(b *testing.B) {
	d := newDialer(b, newPKI(b).client(), hang, tunnel.Server{Name: "x", Network: tunnel.NetworkUnix, Address: "/nowhere", Mode: tunnel.ModeHTTPConnect})
	d.certs.Version()
	b.ReportAllocs()
	for b.Loop() {
		d.certs.Version()
	}
}
