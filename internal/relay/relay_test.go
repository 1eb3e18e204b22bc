// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestMain lets more tests run at a time than there are cores: most of them wait for the
// kernel.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// hangTimeout limits waits that end at once if nothing is broken.
const hangTimeout = waittest.Limit

// fakeTunnel is a strict tunnel. It fails the test on calls that a real one would not
// accept, such as Send after Close.
type fakeTunnel struct {
	t        *testing.T
	incoming chan []byte // from the target
	end      chan error  // the error of Receive, after incoming was read
	closed   chan struct{}
	once     sync.Once

	mu      sync.Mutex
	sent    bytes.Buffer
	sendErr error
	onSend  func()
}

func newFakeTunnel(t *testing.T) *fakeTunnel {
	return &fakeTunnel{t: t, incoming: make(chan []byte, 1024), end: make(chan error, 1), closed: make(chan struct{})}
}

func (f *fakeTunnel) Receive() ([]byte, error) {
	select {
	case p := <-f.incoming:
		return p, nil
	case err := <-f.end:
		f.end <- err
		select {
		case p := <-f.incoming: // sent before the end
			return p, nil
		default:
			return nil, err
		}
	case <-f.closed:
		return nil, tunnel.ErrClosed
	}
}

func (f *fakeTunnel) Send(p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(p) == 0 {
		f.t.Error("Send of no bytes")
	}
	if f.sendErr != nil {
		return f.sendErr
	}
	f.sent.Write(p)
	if f.onSend != nil {
		f.onSend()
	}
	return nil
}

func (f *fakeTunnel) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

func (f *fakeTunnel) got() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent.String()
}

// testRelay is a relay under test, with the app's end of its TCP connection and a
// fakeTunnel.
type testRelay struct {
	app    *net.TCPConn
	tun    *fakeTunnel
	cancel context.CancelFunc
	result chan relay.Result
}

func start(t *testing.T, opt relay.Options) *testRelay {
	t.Helper()
	tun := newFakeTunnel(t)
	r := startWith(t, tun, opt)
	r.tun = tun
	return r
}

// startWith starts a relay between an app's connection and tun.
func startWith(t *testing.T, tun relay.Tunnel, opt relay.Options) *testRelay {
	t.Helper()
	if opt.HalfCloseTimeout == 0 {
		opt.HalfCloseTimeout = hangTimeout
	}
	if opt.Buffers == nil {
		opt.Buffers = relay.NewBuffers(defaults.ConnectionBuffer, quota.New(defaults.TotalBuffer))
	}
	if opt.Pacer == nil {
		opt.Pacer = new(relay.Pacer)
	}
	if opt.AppState == nil {
		opt.AppState = func() relay.AppState { return relay.AppUnknown }
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	app, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	t.Cleanup(func() { _ = app.Close() })
	must(t, app.SetDeadline(time.Now().Add(hangTimeout)))
	side, err := l.Accept()
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	r := &testRelay{app: app.(*net.TCPConn), cancel: cancel, result: make(chan relay.Result, 1)}
	go func() { r.result <- relay.Run(ctx, side.(*net.TCPConn), tun, opt) }()
	return r
}

func (r *testRelay) finish(t *testing.T, want relay.CloseReason) relay.Result {
	t.Helper()
	select {
	case res := <-r.result:
		if res.Reason != want {
			t.Errorf("closed with reason %s (%v), want %s", res.Reason, res.Err, want)
		}
		select {
		case <-r.tun.closed:
		default:
			t.Error("the tunnel was not closed")
		}
		return res
	case <-time.After(hangTimeout):
		t.Fatalf("the relay did not end in %s", hangTimeout)
		panic("unreachable")
	}
}

func (r *testRelay) wantReset(t *testing.T, before string) {
	t.Helper()
	got, err := io.ReadAll(r.app)
	if string(got) != before || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the app read %q and then %v, want %q and a reset", got, err, before)
	}
}

func (r *testRelay) wantAll(t *testing.T, want string) {
	t.Helper()
	got, err := io.ReadAll(r.app)
	if string(got) != want || err != nil {
		t.Errorf("the app read %q and then %v, want %q and an end of file", got, err, want)
	}
}

// TestTunnelFails: each end that is not the target's orderly one reaches the app as
// RST.
func TestTunnelFails(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want relay.CloseReason
	}{
		{fmt.Errorf("%w: connection lost", tunnel.ErrBroken), relay.TunnelBroken},
		{fmt.Errorf("%w: what?", tunnel.ErrProtocol), relay.Protocol},
		{errors.New("something new"), relay.TunnelBroken},
		{io.ErrUnexpectedEOF, relay.TunnelBroken},
	} {
		t.Run(tc.err.Error(), func(t *testing.T) {
			r := start(t, relay.Options{})
			r.tun.incoming <- []byte("half an ans")
			r.tun.end <- tc.err
			r.wantReset(t, "half an ans")
			if res := r.finish(t, tc.want); !errors.Is(res.Err, tc.err) || res.Received != 11 {
				t.Errorf("result %+v, want the cause and 11 bytes received", res)
			}
		})
	}
}

// TestTargetCloses: the app gets all bytes and FIN, and may close later.
func TestTargetCloses(t *testing.T) {
	r := start(t, relay.Options{})
	asked := make(chan struct{})
	r.tun.mu.Lock()
	r.tun.onSend = func() { close(asked) }
	r.tun.mu.Unlock()
	_, err := r.app.Write([]byte("question"))
	must(t, err)
	<-asked
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		for p := big; len(p) > 0; p = p[4096:] {
			r.tun.incoming <- p[:4096]
		}
		r.tun.end <- io.EOF
	}()
	r.wantAll(t, string(big))
	must(t, r.app.Close())
	res := r.finish(t, relay.TargetClosed)
	if res.Received != int64(len(big)) || res.Sent != 8 || r.tun.got() != "question" {
		t.Errorf("result %+v with %q sent, want %d received and the question sent", res, r.tun.got(), len(big))
	}
}

// TestWriteToClosedTarget: an app that only writes gets a reset after its target has
// closed, as without the proxy.
func TestWriteToClosedTarget(t *testing.T) {
	r := start(t, relay.Options{})
	r.tun.end <- io.EOF
	r.wantAll(t, "")
	for end := time.Now().Add(hangTimeout); ; time.Sleep(time.Millisecond) {
		if _, err := r.app.Write([]byte("more")); err != nil {
			if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("writing to a closed target: %v, want a reset", err)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("the app still writes to a target that has closed")
		}
	}
	r.finish(t, relay.TargetClosed)
}

// TestSendFailsAtTargetClose: a Send that fails because the target has closed is not a
// broken tunnel. The app still gets the target's bytes.
func TestSendFailsAtTargetClose(t *testing.T) {
	r := start(t, relay.Options{})
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
}

// TestAppResets: the tunnel is closed at once.
func TestAppResets(t *testing.T) {
	r := start(t, relay.Options{})
	must(t, relay.Reset(r.app))
	r.finish(t, relay.AppReset)
}

// TestHalfClose: an app that has sent FIN and still reads gets the whole answer.
func TestHalfClose(t *testing.T) {
	for _, state := range []relay.AppState{relay.AppUnknown, relay.AppHalfClosed} {
		t.Run(fmt.Sprint(state), func(t *testing.T) {
			r := start(t, relay.Options{AppState: func() relay.AppState { return state }})
			_, err := r.app.Write([]byte("question"))
			must(t, err)
			must(t, r.app.CloseWrite())
			r.tun.incoming <- []byte("the whole ")
			r.tun.incoming <- []byte("answer")
			r.tun.end <- io.EOF
			r.wantAll(t, "the whole answer")
			r.finish(t, relay.TargetClosed)
		})
	}
}

// TestHalfCloseUnsupported: if the target waits for an end of file that cannot be sent,
// the app gets RST. It does not look like a complete answer.
func TestHalfCloseUnsupported(t *testing.T) {
	r := start(t, relay.Options{HalfCloseTimeout: 50 * time.Millisecond})
	r.tun.incoming <- []byte("partial")
	must(t, r.app.CloseWrite())
	r.wantReset(t, "partial")
	r.finish(t, relay.HalfCloseUnsupported)
}

// TestAppCloses: the tunnel is closed at once if nothing was sent lately. Otherwise it
// is closed after closeDelay, with all bytes sent before.
func TestAppCloses(t *testing.T) {
	for _, question := range []string{"", "the last words"} {
		t.Run(fmt.Sprintf("%q", question), func(t *testing.T) {
			t.Parallel()
			r := start(t, relay.Options{AppState: func() relay.AppState { return relay.AppGone }})
			began := time.Now()
			_, err := io.WriteString(r.app, question)
			must(t, err)
			must(t, r.app.Close())
			r.finish(t, relay.AppClosed)
			if r.tun.got() != question {
				t.Errorf("the target got %q, want %q", r.tun.got(), question)
			}
			// The time may be longer, but never shorter: the close must not overtake
			// the bytes.
			if d := time.Since(began); question != "" && d < 2*time.Second {
				t.Errorf("the tunnel was closed %s after the last byte, want 2s or later", d)
			}
		})
	}
}

// TestTunnelBreaksAfterAppClosed: after the app has closed, a broken tunnel is not
// reported as a failure.
func TestTunnelBreaksAfterAppClosed(t *testing.T) {
	asked := make(chan struct{})
	var once sync.Once
	r := start(t, relay.Options{AppState: func() relay.AppState {
		once.Do(func() { close(asked) })
		return relay.AppGone
	}})
	_, err := r.app.Write([]byte("the last words"))
	must(t, err)
	must(t, r.app.Close())
	<-asked
	// The relay reads the state soon after this call.
	for end := time.Now().Add(hangTimeout); r.tun.got() == "" && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	time.AfterFunc(100*time.Millisecond, func() { r.tun.end <- tunnel.ErrBroken })
	r.finish(t, relay.AppClosed)
}

// TestDrain: connections that are open when the context ends are reset.
func TestDrain(t *testing.T) {
	r := start(t, relay.Options{})
	r.tun.incoming <- []byte("some")
	got := make([]byte, 4)
	_, err := io.ReadFull(r.app, got)
	must(t, err)
	r.cancel()
	r.wantReset(t, "")
	r.finish(t, relay.Drain)
}

// TestUpload: every byte arrives, in order.
func TestUpload(t *testing.T) {
	r := start(t, relay.Options{AppState: func() relay.AppState { return relay.AppHalfClosed }})
	big := bytes.Repeat([]byte("fedcba9876543210"), 1<<17)
	go func() {
		_, _ = r.app.Write(big)
		_ = r.app.CloseWrite()
	}()
	done := make(chan struct{})
	r.tun.mu.Lock()
	r.tun.onSend = func() {
		if r.tun.sent.Len() == len(big) {
			close(done)
		}
	}
	r.tun.mu.Unlock()
	select {
	case <-done:
	case <-time.After(hangTimeout):
		t.Fatalf("%d of %d bytes arrived", len(r.tun.got()), len(big))
	}
	r.tun.end <- io.EOF
	r.wantAll(t, "")
	if res := r.finish(t, relay.TargetClosed); r.tun.got() != string(big) || res.Sent != int64(len(big)) {
		t.Errorf("%d bytes sent, or not the right ones; want %d", res.Sent, len(big))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
