// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

const (
	// chunk is the most that one packet of the gRPC tunnel carries, in bytes, and the
	// unit in which bytes are held back for an app.
	chunk = 32 << 10
	// piece is the most that Receive returns at once, in bytes.
	piece = 128 << 10
	// closeDelay is how long after the last byte sent the tunnel is closed for
	// an app that has closed. The agent throws away what it has queued for a
	// target when it is told to close, and nothing is acknowledged.
	closeDelay = 2 * time.Second
	// askAgain is how often an app that seems to be half-closed is looked at.
	askAgain = 2 * time.Second
)

// Tunnel is the tunnelled connection; see tunnel.Conn.
type Tunnel interface {
	Receive() ([]byte, error)
	Send(p []byte) error
	Close() error
}

// Options are the limits of one relay.
type Options struct {
	// HalfCloseTimeout is how long an app that has sent FIN waits with nothing
	// moving before it is reset, and how long an app may take to close after
	// the target has.
	HalfCloseTimeout time.Duration
	// IdleTimeout is how long nothing may move in either direction, or up to a
	// quarter longer, until the app is reset; 0 is for ever.
	IdleTimeout time.Duration
	// Buffers bounds what is held back for apps that read slowly; nil is bounds
	// of this relay's own, DefaultConnection and DefaultTotal.
	Buffers *Buffers
	// Pacer is shared by all connections of the proxy-server; nil is a Pacer of
	// this relay's own.
	Pacer *Pacer
	// AppState tells what is known of the app after its FIN. Nil knows nothing.
	AppState func() AppState
}

// Result says how a relay ended.
type Result struct {
	Reason   CloseReason
	Sent     int64 // bytes from the app that the tunnel took
	Received int64 // bytes of the target that the app's kernel took
	Err      error // the cause, where the end was not an orderly one
}

// Start relays in goroutines of its own until both directions are done, closes both
// connections, and then calls done. It returns at once.
//
// One goroutine waits for the app and one for the target, and for as long as a
// connection is idle their stacks are most of what it holds: nothing lies below
// their loops.
func Start(ctx context.Context, app *net.TCPConn, tun Tunnel, opt Options, done func(Result)) {
	if opt.AppState == nil {
		opt.AppState = func() AppState { return AppUnknown }
	}
	if opt.Buffers == nil {
		opt.Buffers = NewBuffers(DefaultConnection, quota.New(DefaultTotal))
	}
	if opt.Pacer == nil {
		opt.Pacer = new(Pacer)
	}
	r := newRelay(app, tun, opt)
	_ = Arm(app)
	r.stop = context.AfterFunc(ctx, func() { r.abort(Drain, context.Cause(ctx)) })
	r.stopIdle = r.watchIdle()
	r.done = done
	r.running.Store(2)
	go r.upload()
	go r.download()
}

// Run is Start, and waits for the end.
func Run(ctx context.Context, app *net.TCPConn, tun Tunnel, opt Options) Result {
	result := make(chan Result, 1)
	Start(ctx, app, tun, opt, func(r Result) { result <- r })
	return <-result
}

// disarmed is the SetLinger argument that ends a connection with FIN again.
const disarmed = -1

// Arm makes every end of app a reset, also that of a process which is killed:
// its kernel would say FIN for it, and the app would take what it has for all.
// Run disarms it for an orderly end.
func Arm(app *net.TCPConn) error { return app.SetLinger(0) }

// Reset closes app so that its peer sees RST (tcp(7), SO_LINGER with a time of
// zero), never an end of file.
func Reset(app *net.TCPConn) error {
	return errors.Join(Arm(app), app.Close())
}

// relay is the state that the two directions share.
type relay struct {
	app *net.TCPConn
	raw syscall.RawConn // of app
	tun Tunnel
	opt Options

	stop     func() bool // the wait for the context's end
	stopIdle func()
	done     func(Result)
	running  atomic.Int32 // directions that are not done

	account  *quota.Account // of what is held for app and target
	evicting sync.WaitGroup // evict
	writer   sockio.Writer  // to app
	held     *queue         // what the app has not taken yet
	paced    bool           // download goes at the app's pace
	appetite appetite       // which is that, if so
	asked    atomic.Bool    // the app has sent, and nothing was received since
	exchange exchange
	flushing sync.WaitGroup // who writes it

	sent, received atomic.Int64
	began          time.Time   // what moved and lastSent are measured from
	moved          moment      // when a byte last moved
	lastSent       moment      // when one was last sent to the target
	appFinished    atomic.Bool // the app's FIN was seen
	appGone        atomic.Bool // and it has closed

	targetDone chan struct{} // closed when Receive has ended

	concluded sync.Once
	over      chan struct{} // closed by conclude
	reason    CloseReason
	err       error
}

func newRelay(app *net.TCPConn, tun Tunnel, opt Options) *relay {
	r := &relay{app: app, tun: tun, opt: opt, began: time.Now(), targetDone: make(chan struct{}), over: make(chan struct{})}
	r.raw, _ = app.SyscallConn() // fails for a nil connection only
	r.account = opt.Buffers.quota.Open(r.evict)
	r.held = newQueue(opt.Buffers, r.account)
	r.writer.Init(r.raw)
	r.touch()
	r.lastSent.forget()
	return r
}

// finish ends a direction. With the last one it closes what is not closed yet, and
// says how it went.
func (r *relay) finish() {
	if r.running.Add(-1) > 0 {
		return
	}
	r.stopIdle()
	r.conclude(TargetClosed, nil)
	_ = r.tun.Close()
	// Whoever wanted a reset has closed app by now.
	_ = r.app.SetLinger(disarmed)
	_ = r.app.Close()
	r.stop()
	r.account.Close()
	r.evicting.Wait()
	r.done(Result{Reason: r.reason, Err: r.err, Sent: r.sent.Load(), Received: r.received.Load()})
}

// evict ends a connection that holds back more than all others, which together
// hold back too much. Its caller may hold any lock.
func (r *relay) evict() { r.evicting.Go(func() { r.abort(SlowReader, errTotal) }) }

func (r *relay) touch() { r.moved.set(r.began, time.Now()) }

// conclude settles the reason; the first one stands.
func (r *relay) conclude(reason CloseReason, err error) {
	r.concluded.Do(func() {
		r.reason, r.err = reason, err
		close(r.over)
	})
}

// abort ends both sides at once: the app with RST.
func (r *relay) abort(reason CloseReason, err error) {
	r.conclude(reason, err)
	_ = Reset(r.app)
	_ = r.tun.Close()
}

// appFailed ends the relay of an app that can no longer be read or written.
func (r *relay) appFailed(err error) {
	switch {
	case r.appFinished.Load() && isReset(err):
		// It had closed, as it turns out, and the target's bytes found nobody.
		r.abort(AppClosed, nil)
	default:
		r.abort(AppReset, err)
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

func (r *relay) targetIsDone() bool { return isClosed(r.targetDone) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
