// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"context"
	"io"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// These benchmarks measure the relay alone, between a real TCP connection over loopback
// and a tunnel in memory that costs nothing. Compare them only on one machine, before
// and after a change. The app's end of the TCP connection is in the same process, so
// each figure includes it.

// idealTunnel is a tunnel that is faster than any real one.
type idealTunnel struct {
	packets chan []byte // to be received
	closed  chan struct{}
	once    sync.Once
	onSend  func(p []byte)
}

func newIdealTunnel(onSend func(p []byte)) *idealTunnel {
	return &idealTunnel{packets: make(chan []byte, 1), closed: make(chan struct{}), onSend: onSend}
}

func (i *idealTunnel) Receive() ([]byte, error) {
	select {
	case p := <-i.packets:
		return p, nil
	case <-i.closed:
		return nil, tunnel.ErrClosed
	}
}

func (i *idealTunnel) Send(p []byte) error {
	i.onSend(p)
	return nil
}

func (i *idealTunnel) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

// sharedOptions returns the options that all connections of one proxy share.
func sharedOptions() relay.Options {
	return relay.Options{
		HalfCloseTimeout: hangTimeout,
		Buffers:          relay.NewBuffers(defaults.ConnectionBuffer, quota.New(defaults.TotalBuffer)),
		Pacer:            new(relay.Pacer),
		AppState:         func() relay.AppState { return relay.AppGone },
	}
}

// runFor relays an app's new connection with tun. finish ends the relay and waits.
func runFor(b *testing.B, l net.Listener, tun relay.Tunnel, opt relay.Options) (app *net.TCPConn, finish func()) {
	b.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	side, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	relay.Start(context.Background(), side.(*net.TCPConn), tun, opt, func(relay.Result) { close(done) })
	app = conn.(*net.TCPConn)
	return app, func() {
		_ = relay.Reset(app)
		<-done
	}
}

func listen(b *testing.B) net.Listener {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	return l
}

// BenchmarkRoundTrip: the app sends, the target answers.
func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{1, 16 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.ReportAllocs()
			var tun *idealTunnel
			missing, answer := size, make([]byte, size)
			tun = newIdealTunnel(func(p []byte) {
				if missing -= len(p); missing == 0 {
					missing = size
					tun.packets <- answer
				}
			})
			app, finish := runFor(b, listen(b), tun, sharedOptions())
			defer finish()
			p := make([]byte, size)
			for b.Loop() {
				if _, err := app.Write(p); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(app, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRoundTripsSideBySide is BenchmarkRoundTrip of 1 byte, on as many connections
// as are busy in a large sidecar.
func BenchmarkRoundTripsSideBySide(b *testing.B) {
	b.ReportAllocs()
	l, opt := listen(b), sharedOptions()
	var apps, ends sync.WaitGroup
	turns := make(chan struct{}, 64)
	for range 64 {
		var tun *idealTunnel
		answer := []byte{1}
		tun = newIdealTunnel(func([]byte) { tun.packets <- answer })
		app, finish := runFor(b, l, tun, opt)
		ends.Go(func() {
			apps.Wait()
			finish()
		})
		apps.Go(func() {
			p := []byte{1}
			for range turns {
				if _, err := app.Write(p); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(app, p); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	for b.Loop() {
		turns <- struct{}{}
	}
	close(turns)
	ends.Wait()
}

// BenchmarkCarrier is BenchmarkRoundTrip of 1 byte and BenchmarkDownload of 64 KiB through
// a tunnel that carries everything.
func BenchmarkCarrier(b *testing.B) {
	for _, size := range []int{1, 64 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			var tun *idealTunnel
			answer := make([]byte, size)
			tun = newIdealTunnel(func([]byte) { tun.packets <- answer })
			app, finish := runFor(b, listen(b), carrying(tun), sharedOptions())
			defer finish()
			read := make([]byte, size)
			for b.Loop() {
				if _, err := app.Write(read[:1]); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(app, read); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDownload receives one packet of a bulk download per operation.
func BenchmarkDownload(b *testing.B) {
	for _, size := range []int{4 << 10, 32 << 10, 64 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			tun := newIdealTunnel(nil)
			app, finish := runFor(b, listen(b), tun, sharedOptions())
			defer finish()
			p, read := make([]byte, size), make([]byte, 256<<10)
			for b.Loop() {
				tun.packets <- p
				for n := 0; n < size; {
					k, err := app.Read(read)
					if err != nil {
						b.Fatal(err)
					}
					n += k
				}
			}
		})
	}
}

// BenchmarkUpload sends 256 KiB of a bulk upload per operation.
func BenchmarkUpload(b *testing.B) {
	b.ReportAllocs()
	const size = 256 << 10
	b.SetBytes(size)
	got := make(chan struct{}, 1)
	missing, sends := size, 0
	tun := newIdealTunnel(func(p []byte) {
		sends++
		if missing -= len(p); missing <= 0 {
			missing += size
			got <- struct{}{}
		}
	})
	app, finish := runFor(b, listen(b), tun, sharedOptions())
	p := make([]byte, size)
	n := 0
	for b.Loop() {
		n++
		if _, err := app.Write(p); err != nil {
			b.Fatal(err)
		}
		<-got
	}
	finish()
	b.ReportMetric(float64(sends)/float64(n), "sends/op")
}

// BenchmarkConnection relays a whole connection per operation.
func BenchmarkConnection(b *testing.B) {
	b.ReportAllocs()
	l, opt := listen(b), sharedOptions()
	for b.Loop() {
		_, finish := runFor(b, l, newIdealTunnel(nil), opt)
		finish()
	}
}

// BenchmarkIdleConnection reports the memory of a connection on which nothing moves,
// after it has been used. The figures include both ends of its TCP connection and the
// tunnel's channels.
func BenchmarkIdleConnection(b *testing.B) {
	b.Run("konnectivity", func(b *testing.B) { idleConnections(b, func(i *idealTunnel) relay.Tunnel { return i }) })
	b.Run("everything", func(b *testing.B) { idleConnections(b, carrying) })
}

// idealCarrier is an idealTunnel that carries everything.
type idealCarrier struct{ *idealTunnel }

func carrying(i *idealTunnel) relay.Tunnel { return &idealCarrier{i} }

func (*idealCarrier) Traits() tunnel.Traits { return everything }
func (*idealCarrier) CloseWrite() error     { return nil }
func (i *idealCarrier) Abort() error        { return i.Close() }

func idleConnections(b *testing.B, carrying func(*idealTunnel) relay.Tunnel) {
	const connections = 2000
	l, opt := listen(b), sharedOptions()
	for b.Loop() {
		b.StopTimer()
		before := memoryInUse()
		finish := make([]func(), 0, connections)
		b.StartTimer()
		for range connections {
			var tun *idealTunnel
			answer := []byte{1}
			tun = newIdealTunnel(func([]byte) { tun.packets <- answer })
			app, end := runFor(b, l, carrying(tun), opt)
			finish = append(finish, end)
			p := make([]byte, 1)
			if _, err := app.Write(p); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(app, p); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		after := memoryInUse()
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/connections, "stack-B/conn")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/connections, "heap-B/conn")
		for _, end := range finish {
			end()
		}
		b.StartTimer()
	}
}

// memoryInUse returns the memory statistics after a collection.
func memoryInUse() (m runtime.MemStats) {
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m
}
