// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// backpressure is what a way through an ordinary HTTP CONNECT proxy carries.
var backpressure = tunnel.Traits{Backpressure: true}

// fakeCarrier is a fakeTunnel that carries more than bytes.
type fakeCarrier struct {
	*fakeTunnel
	traits tunnel.Traits
	sawFIN func() // called by CloseWrite, if it is set
}

func (f *fakeCarrier) Traits() tunnel.Traits { return f.traits }

func (f *fakeCarrier) CloseWrite() error {
	if !f.traits.HalfClose {
		f.t.Error("CloseWrite on a way without half-closes")
	}
	if f.sawFIN != nil {
		f.sawFIN()
	}
	return nil
}

func (f *fakeCarrier) Abort() error { return f.Close() }

func startCarrier(t *testing.T, traits tunnel.Traits, opt relay.Options) *testRelay {
	t.Helper()
	tun := newFakeTunnel(t)
	r := startWith(t, &fakeCarrier{fakeTunnel: tun, traits: traits}, opt)
	r.tun = tun
	return r
}

// TestSlowReaderWithBackpressure: an app that does not read stops its target, and gets
// everything when it reads. Without backpressure the same app is reset.
func TestSlowReaderWithBackpressure(t *testing.T) {
	for _, traits := range []tunnel.Traits{{}, backpressure, everything} {
		t.Run(traitsName(traits), func(t *testing.T) {
			t.Parallel()
			q := quota.New(2 << 20)
			w := openRelayed(t, traits, relay.Options{Buffers: relay.NewBuffers(1<<20, q)})
			done := writes(w.target, 3*much, func() { _ = w.target.CloseWrite() })
			if traits.Backpressure {
				stalls(t, w.target, done)
			} else if r := w.ended(t); r.Reason != relay.SlowReader {
				t.Errorf("the reason is %s, want %s: the control shows nothing", r.Reason, relay.SlowReader)
			}
			if q.Held() != 0 {
				t.Errorf("%d bytes are held in the relay", q.Held())
			}
			got, err := io.ReadAll(w.app)
			if complete := len(got) == 3*much && err == nil; complete != traits.Backpressure {
				t.Errorf("the app got %d of %d bytes, %v", len(got), 3*much, err)
			}
			<-done
		})
	}
}

// TestTargetClosesWithBackpressure: the app gets everything, then FIN. What it sends then
// is answered with RST.
func TestTargetClosesWithBackpressure(t *testing.T) {
	w := openRelayed(t, backpressure, relay.Options{})
	done := writes(w.target, much, func() { _ = w.target.Close() })
	got, err := io.ReadAll(w.app)
	if !bytes.Equal(got, pattern(much)) || err != nil || <-done != nil {
		t.Errorf("the app got %d bytes, or not the right ones, and %v; want %d", len(got), err, much)
	}
	_, err = w.app.Write([]byte("more"))
	must(t, err)
	(&sight{t: t}).fails("app", w.app)
	if r := w.ended(t); r.Reason != relay.TargetClosed || r.Received != much {
		t.Errorf("the result is %+v", r)
	}
}

// TestCarrierFails: an end that is not the target's reaches the app as RST, also after
// the app's FIN. If the app has closed it is no failure.
func TestCarrierFails(t *testing.T) {
	for _, traits := range []tunnel.Traits{backpressure, everything} {
		for _, tc := range []struct {
			err   error
			state relay.AppState
			want  relay.CloseReason
		}{
			{fmt.Errorf("%w: connection lost", tunnel.ErrBroken), relay.AppHalfClosed, relay.TunnelBroken},
			{fmt.Errorf("%w: connection lost", tunnel.ErrBroken), relay.AppGone, relay.AppClosed},
			{fmt.Errorf("%w: what?", tunnel.ErrProtocol), relay.AppHalfClosed, relay.Protocol},
		} {
			t.Run(fmt.Sprint(traitsName(traits), " ", tc.err, " ", tc.state), func(t *testing.T) {
				t.Parallel()
				tun, fin := newFakeTunnel(t), make(chan struct{}, 100)
				r := startWith(t, &fakeCarrier{fakeTunnel: tun, traits: traits, sawFIN: func() { fin <- struct{}{} }}, relay.Options{AppState: func() relay.AppState {
					fin <- struct{}{}
					return tc.state
				}})
				r.tun = tun
				r.tun.incoming <- []byte("half an ans")
				_, err := io.ReadFull(r.app, make([]byte, 11))
				must(t, err)
				must(t, r.app.CloseWrite())
				<-fin
				r.tun.end <- tc.err
				if tc.state == relay.AppHalfClosed {
					r.wantReset(t, "")
				}
				r.finish(t, tc.want)
			})
		}
	}
}

// TestSendFailsAtTargetCloseWithBackpressure: a Send can fail before the last bytes were
// received. The app gets them.
func TestSendFailsAtTargetCloseWithBackpressure(t *testing.T) {
	for _, traits := range []tunnel.Traits{backpressure, everything} {
		t.Run(traitsName(traits), func(t *testing.T) {
			r := startCarrier(t, traits, relay.Options{})
			r.tun.mu.Lock()
			r.tun.sendErr = tunnel.ErrBroken
			r.tun.mu.Unlock()
			_, err := r.app.Write([]byte("too late"))
			must(t, err)
			r.tun.incoming <- []byte("go away")
			r.tun.end <- io.EOF
			r.wantAll(t, "go away") // its end too: an app that closes before it ends the relay itself
			_ = r.app.Close()
			r.finish(t, relay.TargetClosed)
		})
	}
}

// TestAnAppThatOnlyWrites: the way breaks while the relay waits for the app to read, and
// the app waits for the relay to take what it writes. The app must get a reset.
func TestAnAppThatOnlyWrites(t *testing.T) {
	t.Parallel()
	tun := newEndlessTunnel(t)
	carrier := &fakeCarrier{fakeTunnel: tun.fakeTunnel, traits: everything}
	breaking := &breakingCarrier{fakeCarrier: carrier, broken: make(chan struct{})}
	r := startWith(t, breaking, relay.Hurried(relay.Options{}))
	r.tun = tun.fakeTunnel
	tun.mu.Lock()
	tun.sendErr = fmt.Errorf("%w: connection lost", tunnel.ErrBroken)
	tun.onSend = nil
	tun.mu.Unlock()
	// The relay first waits in a write.
	last, same := int64(0), 0
	waittest.Eventually(t, "the relay to wait for its app", func() bool {
		time.Sleep(10 * time.Millisecond)
		if now := breaking.received.Load(); now != last || now == 0 {
			last, same = now, 0
		}
		same++
		return same > 10
	})
	var err error
	close(breaking.broken)
	for err == nil {
		_, err = r.app.Write(make([]byte, 64<<10))
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the app's write ends with %v, want a reset", err)
	}
	r.finish(t, relay.TunnelBroken)
}

// breakingCarrier has bytes to receive until broken is closed.
type breakingCarrier struct {
	*fakeCarrier
	broken   chan struct{}
	received atomic.Int64 // calls of Receive
}

func (b *breakingCarrier) Receive() ([]byte, error) {
	b.received.Add(1)
	select {
	case <-b.broken:
		return nil, tunnel.ErrBroken
	default:
		return make([]byte, tunnel.MaxReceive), nil
	}
}

// TestEndsOfABlockedRelay: a relay that waits in a Send, in a write to the app, or in
// both, ends with a reset on both sides.
func TestEndsOfABlockedRelay(t *testing.T) {
	for _, blocked := range []string{"upload", "download", "both"} {
		for _, want := range []relay.CloseReason{relay.Drain, relay.Idle} {
			t.Run(blocked+" "+string(want), func(t *testing.T) {
				t.Parallel()
				opt := relay.Options{}
				if want == relay.Idle {
					opt.IdleTimeout = time.Second
				}
				w := openRelayed(t, everything, opt)
				ends := map[*net.TCPConn]chan error{}
				if blocked != "download" {
					ends[w.app] = writes(w.app, much, nil)
				}
				if blocked != "upload" {
					ends[w.target] = writes(w.target, much, nil)
				}
				if want == relay.Drain {
					for c, done := range ends {
						stalls(t, c, done)
					}
					w.cancel()
				}
				if r := w.ended(t); r.Reason != want {
					t.Errorf("the reason is %s (%v), want %s", r.Reason, r.Err, want)
				}
				for c, done := range ends {
					if err := <-done; err == nil {
						t.Errorf("the write of %s has succeeded", c.LocalAddr())
					}
				}
				for _, c := range []*net.TCPConn{w.app, w.target} {
					if _, err := io.Copy(io.Discard, c); ends[c] == nil && !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("an end sees %v, want a reset", err)
					}
				}
			})
		}
	}
}

// TestAppThatVanishedAfterItsFIN: an app closes, and its target goes on without an end.
// The app's kernel forgets the connection. Then the target gets a reset, as it would
// without the relay at its next keepalive probe.
func TestAppThatVanishedAfterItsFIN(t *testing.T) {
	t.Parallel()
	var side *net.TCPConn
	w := &way{}
	w.app, side = tcpPair(t)
	far, target := tcpPair(t)
	w.target = target
	w.limit(t)
	must(t, side.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3}))
	raw, err := w.app.SyscallConn()
	must(t, err)
	// The kernel forgets it a second after the close, and not after a minute.
	must(t, sockio.Control(raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_LINGER2, 1) }))
	result := make(chan relay.Result, 1)
	go func() {
		result <- relay.Run(t.Context(), side, &tcpCarrier{TCPConn: far, traits: everything}, relay.Options{
			Buffers: relay.NewBuffers(1<<20, quota.New(8<<20)), AppState: func() relay.AppState { return relay.AppUnknown },
		})
	}()
	must(t, w.app.Close())
	s := &sight{t: t}
	s.rest("target", target)
	s.fails("target", target)
	if s.lines[0] != `target gets "", then end` || s.lines[1] != "target sees broken pipe" {
		t.Errorf("%q, want an end and then a reset", s.lines)
	}
	select {
	case r := <-result:
		if r.Reason != relay.AppClosed {
			t.Errorf("the reason is %s (%v), want %s", r.Reason, r.Err, relay.AppClosed)
		}
	case <-time.After(hangTimeout):
		t.Error("the relay does not end")
	}
}

// TestWaitingUploadsOfCarriersAreBounded: uploads that wait for their targets hold little
// memory each if there are many. None is reset for it, nor is any for what a relay without
// backpressure holds.
func TestWaitingUploadsOfCarriersAreBounded(t *testing.T) {
	const limit, uploads = 8 << 20, 300
	q := quota.New(limit)
	buffers := relay.NewBuffers(1<<20, q)
	var all []*testRelay
	for range uploads {
		tun := newFakeTunnel(t)
		tun.onSend = func() { <-tun.closed }
		r := startWith(t, &fakeCarrier{fakeTunnel: tun, traits: everything}, relay.Options{Buffers: buffers})
		r.tun = tun
		all = append(all, r)
		held := buffers.Held()
		_, err := r.app.Write(make([]byte, 256<<10))
		must(t, err)
		waittest.Eventually(t, "the upload to wait for its target", func() bool { return buffers.Held() > held })
	}
	if held := buffers.Held(); held > limit {
		t.Errorf("%d uploads hold %d bytes, more than the quota of %d", uploads, held, limit)
	}
	other := q.Open(func() {})
	other.Take(limit)
	for _, r := range all {
		select {
		case res := <-r.result:
			t.Errorf("an upload had to go, with reason %s", res.Reason)
		default:
		}
		r.cancel()
		r.finish(t, relay.Drain)
	}
	other.Close()
	if n := buffers.Held(); n != 0 {
		t.Errorf("%d bytes are held after the end", n)
	}
}

// TestAppStaysOpenWithBackpressure: an app that does not close after its target's end has
// --half-close-timeout for it, on a way without half-closes.
func TestAppStaysOpenWithBackpressure(t *testing.T) {
	w := openRelayed(t, backpressure, relay.Options{HalfCloseTimeout: 100 * time.Millisecond})
	must(t, w.target.Close())
	if _, err := io.ReadAll(w.app); err != nil {
		t.Errorf("the app sees %v, want the target's end", err)
	}
	if r := w.ended(t); r.Reason != relay.TargetClosed {
		t.Errorf("the reason is %s, want %s", r.Reason, relay.TargetClosed)
	}
}
